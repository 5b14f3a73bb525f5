//! Operating ensembles: inventory, facts, plan, steps, verbs.
