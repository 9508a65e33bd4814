"""Many seeds at once: what a run is, and the engines that train it.

`run` is what both engines make. On the CPU `compiled` drives the loops of `kernel`, whose numbers lie as `layout` says
and are computed by the vectors of `simd`; `batched` is for any other device.
"""
