//! End to end: real binaries, real sockets, real disks, as the README starts them. Each test makes
//! a world of its own and may run beside any other; what this machine can't do is left out aloud.

mod audited;
mod batches;
mod commands;
mod contract;
mod directories;
mod durability;
mod faults;
mod follow;
mod imports;
mod looking;
mod maintenance;
mod programs;
mod support;
mod view;
