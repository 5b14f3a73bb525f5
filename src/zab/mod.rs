//! Zab: election, discovery, synchronization, broadcast. Pure: events in, actions out.
