"""Many seeds at once: the `Run`, and the engines that train it.

Both engines make the `Run` of `run`. On the CPU `compiled` drives the loops of `kernel`, whose numbers lie as `layout`
says and are computed by the vectors of `simd`; `batched` is for any other device.
"""
