//! The targets of `tests/fuzz`, for libFuzzer.

#![allow(clippy::unwrap_used, reason = "a target fails by panicking")]

#[path = "../../tests/fuzz/targets/mod.rs"]
mod targets;

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            /// One execution.
            pub fn $name(data: &[u8]) {
                (targets::$name::TARGET.run)(data);
            }
        )*
    };
}

targets! {
    jute requests replies txns peer_messages votes client_stream leader_stream learner_stream election_stream
    zoo_cfg dynamic_config log_file snapshot_file recovery paths_and_acls inventory words operator_client
}
