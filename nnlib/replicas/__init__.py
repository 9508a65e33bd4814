"""Where replicas are trained, kept and sent to other machines: all that calls the engines and decides no bits."""
