//! The only floor with sockets, files, threads and clocks. Decides nothing.
