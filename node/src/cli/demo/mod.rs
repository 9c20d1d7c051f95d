//! x
use super::{Context, problem::Problem};
/// Demo
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  x")]
pub(crate) struct Options {}
pub(crate) fn run(_: &Context, _: &Options) -> Result<u8, Problem> { Ok(0) }
