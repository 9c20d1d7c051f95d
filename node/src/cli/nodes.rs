//! `aque nodes`: the hosts of the mesh.

use anstyle::AnsiColor;

use super::problem::Problem;
use super::{Context, Form, top};
use crate::api::wire::NodeLine;
use crate::render::table::{Align, table};
use crate::render::text::{differing, faint, harmless, painted, size, standing};

/// List the hosts of the mesh
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Go on, on the whole screen
    #[arg(short, long)]
    watch: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque nodes
  aque nodes --watch                   as it changes
  aque nodes --json | jq -r '.nodes[] | select(.alive) | .name'";

/// Lists the hosts.
pub(crate) fn run(context: &Context, options: &Options) -> Result<u8, Problem> {
    if options.watch {
        return top::hosts(context);
    }
    let nodes = context.connect()?.nodes()?.nodes;
    match context.form {
        Form::Json => context.json_list("nodes", &nodes)?,
        Form::Text => context.print(&render(&nodes, context.screen.width()))?,
    }
    Ok(0)
}

fn render(nodes: &[NodeLine], width: Option<u16>) -> String {
    let header = [
        ("NAME", Align::Left),
        ("TAG", Align::Left),
        ("STATE", Align::Left),
        ("CPUS", Align::Right),
        ("FREE", Align::Right),
        ("MEMORY", Align::Right),
        ("RUNNING", Align::Right),
        ("LOAD", Align::Right),
        ("PING", Align::Right),
        ("LAG", Align::Right),
        ("VERSION", Align::Left),
        ("ADDRESSES", Align::Left),
    ];
    table(&header, nodes.iter().map(row).collect(), width)
}

fn row(node: &NodeLine) -> Vec<String> {
    let color = match (node.alive, node.draining) {
        (true, true) => AnsiColor::Yellow,
        (true, false) => AnsiColor::Green,
        (false, _) => AnsiColor::Red,
    };
    let state = painted(color.on_default(), &standing(node));
    let when_alive = |text: String| if node.alive { text } else { faint("-") };
    let ping = match (node.own, node.round_trip_ms) {
        (true, _) => faint("here"),
        (false, Some(ms)) => format!("{ms:.1}ms"),
        (false, None) => faint("-"),
    };
    let lag = match (node.own, node.differs) {
        (true, _) => faint("here"),
        (false, Some(lists)) => differing(lists),
        (false, None) => faint("-"),
    };
    vec![
        harmless(&node.name).into_owned(),
        harmless(&node.tag).into_owned(),
        state,
        number(node.cpus),
        when_alive(number(node.cpus_free)),
        size(node.memory_bytes),
        when_alive(node.running.to_string()),
        when_alive(format!("{:.2}", node.load)),
        ping,
        lag,
        harmless(&node.version).into_owned(),
        harmless(&node.addresses.join(" ")).into_owned(),
    ]
}

/// A number with at most two digits after the point.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeLine {
        NodeLine {
            name: name.into(),
            tag: "k3v7qa".into(),
            alive: true,
            own: false,
            since_ms: Some(7_500_000),
            silent_ms: None,
            cpus: 2.0,
            cpus_free: 0.5,
            memory_bytes: 4 << 30,
            running: 3,
            draining: false,
            places: 0,
            load: 1.234,
            version: "0.1.0".into(),
            round_trip_ms: Some(0.42),
            differs: Some(0),
            addresses: vec!["/ip4/10.0.0.1/tcp/4747".into()],
        }
    }

    #[test]
    fn nodes_table() {
        let nodes = [
            NodeLine {
                own: true,
                round_trip_ms: None,
                ..node("alpha")
            },
            NodeLine {
                differs: Some(2),
                ..node("beta\u{1b}")
            },
            NodeLine {
                alive: false,
                silent_ms: Some(65_000),
                round_trip_ms: None,
                differs: None,
                ..node("c")
            },
        ];
        let text = anstream::adapter::strip_str(&render(&nodes, None)).to_string();
        assert_eq!(
            text,
            "\
NAME        TAG     STATE             CPUS  FREE   MEMORY  RUNNING  LOAD   PING      LAG  VERSION  ADDRESSES
alpha       k3v7qa  alive for 2h05m      2   0.5  4.0 GiB        3  1.23   here     here  0.1.0    /ip4/10.0.0.1/tcp/4747
beta\\u{1b}  k3v7qa  alive for 2h05m      2   0.5  4.0 GiB        3  1.23  0.4ms  2 lists  0.1.0    /ip4/10.0.0.1/tcp/4747
c           k3v7qa  silent for 1m05s     2     -  4.0 GiB        -     -      -        -  0.1.0    /ip4/10.0.0.1/tcp/4747
"
        );
    }
}
