//! Who a connection is: the closed set of schemes and the identities they prove.
