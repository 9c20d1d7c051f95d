//! `aque-node`: one event loop that joins the replica to sockets, disk, processes and people.
//!
//! `program` starts and ends it; `node` is the loop; `leaving` ends it by signals, `stay` by itself, `succession` by another program in its place; `runs` speaks to the guard and `persons` tells it as whom they run, `inputs` brings what runs read, `looks` sees whether places are there, `answers`, `explain`, `retry`, `edit` and `remove` speak to clients who have the `rights`, `afar` passes them on from host to host, `waits` keeps those who
//! wait, `news` those who are told what happens, `board` lists for screens; `places` knows where the output of each task is, `output` brings it to clients and peers; `doctor`, `clocks` and `conduct` tell what is amiss, `upkeep` begins anew what has
//! failed.

mod afar;
mod answers;
mod board;
mod clocks;
mod conduct;
mod doctor;
mod edit;
mod explain;
mod found;
mod inputs;
mod leaving;
mod listing;
mod looks;
mod news;
mod node;
mod output;
mod persons;
mod places;
mod program;
mod remove;
mod retention;
mod retry;
mod rights;
mod runs;
mod stay;
mod succession;
mod upkeep;
mod waits;

pub use program::program;
