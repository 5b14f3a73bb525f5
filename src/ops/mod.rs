//! Operating ensembles: inventory, facts, plan, steps, verbs.
//!
//! | module | owns |
//! |---|---|
//! | `inventory` | what an ensemble is to be, and changing that text |
//! | `render` | the files of a node |
//! | `host` | what runs on a node's own host |
//! | `remote` | reaching hosts |
//! | `plan` | facts and inventory to steps: pure |
//! | `status` | facts to a verdict: pure |
//! | `run` | doing a plan, each step proven by a write |
//! | `verbs` | the whole of each verb |
//! | `event`, `failure` | what is told, asked and said in the end |
//!
//! Deliberately absent: printing and prompting (`cli`), and any private record of what was done: the
//! inventory and the hosts are the truth.

pub mod event;
pub mod failure;
pub mod host;
pub mod inventory;
pub mod plan;
pub mod remote;
pub mod render;
pub mod run;
pub mod status;
pub mod verbs;
