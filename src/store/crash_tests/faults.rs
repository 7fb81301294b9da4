//! Errors of the disk at every operation.
