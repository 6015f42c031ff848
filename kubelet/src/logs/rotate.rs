//! Rotation of log files.
