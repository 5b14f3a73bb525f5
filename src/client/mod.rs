//! An async ZooKeeper client for the operator half.
