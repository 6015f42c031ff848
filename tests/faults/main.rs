//! What goes wrong, and that nothing is lost by it.

mod bad_input;
mod durability;
mod hostile;
mod syscalls;
