//! The line of checkpoints by itself; that runs go on from it is tested with the drivers.
