//! Operating ensembles: inventory, facts, plan, steps, verbs.

pub mod inventory;
