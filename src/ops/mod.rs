//! Operating ensembles: inventory, facts, plan, steps, verbs.

pub mod host;
pub mod inventory;
pub mod plan;
pub mod remote;
pub mod render;
