//! Measurements beside a peer, in turn, in the same call: on a shared machine only such ratios
//! count. Nothing here may run inside `make test`.
//!
//! Every bar is a [`part::Part`] in a file of its own under `parts/`; [`parts::ALL`] lists them and
//! says how to add one. [`suite`] runs them, [`report`] tells what came of it. What several parts
//! need is beside them: nodes under load ([`node`]), the load generator ([`wrk`]), examples of other
//! crates ([`example`]), stores of many SKUs ([`large`]), how soon the view shows a write ([`freshness`]), what processes used ([`usage`]), the disk ([`disk`]), medians ([`series`]), tables ([`table`]).

pub mod disk;
pub mod example;
pub mod freshness;
pub mod large;
pub mod machine;
pub mod node;
pub mod pace;
pub mod part;
pub mod parts;
pub mod postgres;
pub mod redis;
pub mod report;
pub mod series;
pub mod suite;
pub mod table;
pub mod usage;
pub mod wrk;
