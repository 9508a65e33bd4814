"""The door to the engines, and what decides no bits: where replicas are trained, kept and sent to other machines."""
