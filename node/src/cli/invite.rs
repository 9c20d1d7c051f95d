//! `aque invite`: a ticket for a new host.

use super::problem::Problem;
use super::{Context, Form};

/// Print a ticket with which a new host joins the mesh
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {}

const EXAMPLES: &str = "\
Examples:
  aque invite                            here; then on the new host:
  aque-node --join aque1...";

/// Prints the ticket alone, and beside it how it is used.
pub(crate) fn run(context: &Context) -> Result<u8, Problem> {
    let invitation = context.connect()?.invite()?;
    match context.form {
        Form::Json => context.json(&invitation)?,
        Form::Text => context.print(&format!("{}\n", invitation.ticket))?,
    }
    context.remark(
        "On the new host: aque-node --join TICKET (needed once). Whoever has the ticket can join: keep it secret.",
    );
    Ok(0)
}
