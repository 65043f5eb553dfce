//! Real binaries, real sockets, real disks, as the README starts them.
