//! From the command line to a running node, and back to an exit status.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;

use crdt::config::Config;
use crdt::ids::Incarnation;
use crdt::keys::Ed25519Keys;
use crdt::replica::Replica;
use crdt::time::{Mono, Now, Wall};
use net::{Identity, MeshSecret, Multiaddr, NetConfig, Ticket};
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::afar::Door;
use super::node::{Handover, Mesh, Node, Parting, Parts};
use super::output::PROTOCOL;
use super::succession::estate::{Early, Estate, give_way};
use super::succession::origin::Origin;
use super::succession::question::Card;
use super::upkeep::{Api, Part};
use crate::api::passage;
use crate::api::socket::Heirloom;
use crate::clock::{boottime, wall_ms};
use crate::config::{Chosen, Cli, LogFormat, Misused, Problems, Settings, Verb};
use crate::executor::{Beginning, ExecConfig, Executor, Patience, Program};
use crate::formats::Formats;
use crate::guard::launcher;
use crate::lock::DirLock;
use crate::outputs::Outputs;
use crate::panics;
use crate::signals::{self, Memory};
use crate::storage::{Log, LogOptions, LogWriter, Recovery, Tail, read_small, write_small};
use crate::usage;
use crate::users;

/// Exit status after a wrong command line or settings file.
const USAGE: u8 = 2;
/// How long a node that has left waits for work on other threads.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// Requests of clients that wait for the loop.
const QUESTION_QUEUE: usize = 256;

/// What went wrong, in one line, and what to do.
pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Runs the program with these arguments, the program's own name not among them.
#[must_use]
pub fn program(args: Vec<OsString>) -> ExitCode {
    if args.first().is_some_and(|verb| verb == crate::guard::VERB) {
        return crate::guard::main(args.into_iter().skip(1));
    }
    if args.first().is_some_and(|verb| verb == crate::look::VERB) {
        return crate::look::main(args.into_iter().skip(1));
    }
    if args.first().is_some_and(|verb| verb == launcher::VERB) {
        return launcher::main();
    }
    let estate = match Estate::take().map(with_memory).transpose() {
        Ok(estate) => estate.unwrap_or_default(),
        Err(error) => {
            say(&format!("aque-node: {error}"));
            return ExitCode::FAILURE;
        }
    };
    panics::watch();
    let origin = Origin::find(args.clone());
    let name = OsString::from("aque-node");
    let words: Vec<OsString> = std::iter::once(name).chain(args).collect();
    let chosen = match Cli::choose(&words, |name| std::env::var_os(name)) {
        Ok(chosen) => chosen,
        Err(misused) => return explain(&misused, &words),
    };
    let done = origin
        .map_err(Failed::from)
        .and_then(|origin| start(chosen, origin, estate));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("aque-node: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with a command line or a settings file, or shows the help that was asked for.
fn explain(misused: &Misused, words: &[OsString]) -> ExitCode {
    match misused {
        Misused::Words(error) if error.use_stderr() => {
            let (mistake, remedy) = (usage::mistake(error), usage::remedy(&Cli::command(), words));
            say(&format!("aque-node: {mistake}; {remedy}"));
            ExitCode::from(USAGE)
        }
        Misused::Words(error) => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Misused::Settings(Problems(problems)) => {
            for problem in problems {
                say(&format!("aque-node: {problem}"));
            }
            ExitCode::from(USAGE)
        }
    }
}

/// Begins to hear signals, which the program before this one has blocked.
fn with_memory(estate: Estate) -> std::io::Result<(Estate, Option<Memory>)> {
    let memory = Memory::begin()?;
    signals::release();
    Ok((estate, Some(memory)))
}

/// Writes a line to standard error; nobody reading it is no failure.
fn say(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        tracing::debug!("nobody reads standard error");
    }
}

fn start(
    chosen: Chosen,
    origin: Origin,
    (estate, memory): (Estate, Option<Memory>),
) -> Result<(), Failed> {
    let Chosen { verb, settings } = chosen;
    if let Some(Verb::Formats) = verb {
        return tell_formats(settings.data);
    }
    log_to_stderr(&settings)?;
    let lock = match estate.lock {
        Some(left) => DirLock::inherit(&settings.data, left)?,
        None => DirLock::take(&settings.data)?,
    };
    let mesh = enter_mesh(&settings)?;
    if verb.is_some() {
        return Ok(());
    }
    let inherited = Inherited {
        api: estate.api,
        early: Early {
            mind: estate.mind,
            memory,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_secs(10))
        .enable_all()
        .build()?;
    let done = runtime.block_on(run(settings, mesh, origin, inherited));
    let (patience, parting) = match done {
        // The lease goes on; what blocks now would have been cut off by a crash as well.
        Ok(Some(parting)) => (Duration::ZERO, Ok(Some(parting))),
        done => (STRAGGLERS, done),
    };
    runtime.shutdown_timeout(patience);
    let Some(way) = parting? else {
        return Ok(());
    };
    let Handover {
        successor,
        mind,
        memory,
    } = *way.handover;
    let error = give_way(&successor, &lock, way.api, (mind, &memory));
    Err(format!("no program could take over, not even this one again: {error}; its runs go on until their deadlines: start it before").into())
}

/// What an earlier program of this process left for the node.
#[derive(Debug)]
struct Inherited {
    api: Option<Heirloom>,
    early: Early,
}

/// A node that has ended for another program's sake, and what it leaves.
#[derive(Debug)]
struct Way {
    handover: Box<Handover>,
    api: Option<Heirloom>,
}

fn tell_formats(data: PathBuf) -> Result<(), Failed> {
    let card = Card {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data,
        formats: Formats::own(),
    };
    Ok(writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string(&card)?
    )?)
}

fn log_to_stderr(settings: &Settings) -> Result<(), Failed> {
    let filter = EnvFilter::builder()
        .parse(&settings.log)
        .map_err(|error| format!("--log {:?}: {error}", settings.log))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let set = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    set.map_err(|error| format!("logging cannot start: {error}").into())
}

/// Reads this node's identity and its mesh's secret, or makes them; a ticket is remembered.
fn enter_mesh(settings: &Settings) -> Result<Mesh, Failed> {
    let identity = Identity::load_or_create(&settings.data.join("identity"))?;
    let path = settings.data.join("mesh");
    let kept = read_ticket(&path)?;
    let asked = settings.join.first();
    let (secret, mut bootstrap) = match (kept, asked) {
        (Some(kept), Some(asked)) if kept.secret != asked.secret => {
            return Err(format!(
                "this data directory belongs to another mesh than the ticket: use another --data, or remove {}",
                settings.data.display()
            )
            .into());
        }
        (Some(kept), _) => (kept.secret, kept.addrs),
        (None, Some(asked)) => (asked.secret.clone(), Vec::new()),
        (None, None) => (MeshSecret::generate(), Vec::new()),
    };
    bootstrap.extend(settings.join.iter().flat_map(|ticket| ticket.addrs.clone()));
    bootstrap.sort_unstable();
    bootstrap.dedup();
    bootstrap.truncate(8);
    let kept = Ticket {
        secret: secret.clone(),
        addrs: bootstrap.clone(),
    };
    write_small(&path, kept.to_string().as_bytes())?;
    Ok(Mesh {
        identity,
        secret,
        bootstrap,
    })
}

fn read_ticket(path: &Path) -> Result<Option<Ticket>, Failed> {
    let failed = |why: String| Failed::from(format!("{}: {why}", path.display()));
    let Some(bytes) = read_small(path).map_err(|error| failed(error.to_string()))? else {
        return Ok(None);
    };
    let ticket = String::from_utf8_lossy(&bytes).trim().parse::<Ticket>();
    ticket.map(Some).map_err(|error| failed(error.to_string()))
}

/// What a log holds, in order.
type Records = Vec<Arc<[u8]>>;

/// Opens the log and returns what it holds.
fn open_log(dir: &Path) -> Result<(Log, Records, Recovery), Failed> {
    let mut records: Records = Vec::new();
    let keep = |record: &[u8]| records.push(record.into());
    let (log, recovery) = Log::open(dir, LogOptions::default(), keep)?;
    tell_recovery(&recovery);
    Ok((log, records, recovery))
}

/// A node whose durable votes may be lost must never vote under its old key again: it goes on as a new member, and its old
/// self counts as down. What could be read of the log stays known.
fn become_another(mesh: &mut Mesh, data: &Path) -> Result<(), Failed> {
    let path = data.join("identity");
    let old = data.join(format!("identity.lost-{}", wall_ms()));
    std::fs::rename(&path, &old)?;
    mesh.identity = Identity::load_or_create(&path)?;
    error!(
        old = %old.display(),
        "votes of this node may be lost with the damaged log: it goes on as a new member"
    );
    Ok(())
}

fn tell_recovery(recovery: &Recovery) {
    if recovery.tail == Tail::Cut {
        warn!(
            "the log ended in something unfinished, which was cut off; that is normal after a crash"
        );
    }
    if let Some(damage) = &recovery.damage {
        error!(
            file = %damage.file.display(),
            offset = damage.offset,
            lost_records = damage.later_records,
            "the log is damaged; what precedes the damage is kept, the rest is set aside"
        );
    }
}

/// Returns both clocks.
pub(super) fn now() -> Now {
    let mono = u64::try_from(boottime().as_nanos()).unwrap_or(u64::MAX);
    Now {
        mono: Mono(mono),
        wall: Wall(wall_ms()),
    }
}

/// Works until the node has left, or gives way to another program.
async fn run(
    settings: Settings,
    mut mesh: Mesh,
    origin: Origin,
    inherited: Inherited,
) -> Result<Option<Way>, Failed> {
    let failed = inherited.early.mind.failed.clone();
    if let Some(why) = &failed {
        error!(
            why,
            "the program on disk had agreed to follow, and could not be executed; this one goes on"
        );
    }
    let (log, recovered, recovery) = open_log(&settings.data.join("log"))?;
    if recovery.damage.is_some() {
        become_another(&mut mesh, &settings.data)?;
    }
    let (log, done) = LogWriter::start(log)?;
    let outputs = Outputs::open(&settings.data.join("outputs"), settings.output_limit)?;
    let exec_config = ExecConfig {
        data: settings.data.clone(),
        program: Program::This,
        patience: Patience::with_lease(settings.timing.lease, settings.timing.kill_latency),
        cgroups: settings.cgroups,
        max_runs: 4_096,
    };
    let Beginning {
        executor,
        found,
        events: exec_events,
    } = Executor::start(exec_config).await?;
    reap_former(inherited.early.mind.guard, executor.guard().pid());
    outputs.sweep_live(&found.iter().map(|found| found.key).collect())?;
    outputs.sweep_spool()?;
    let config = Config {
        keys: Box::new(Ed25519Keys::new(
            &mesh.identity.secret_bytes(),
            &mesh.secret.0,
        )),
        incarnation: Incarnation(fastrand::u64(1..)),
        name: settings.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        timing: settings.timing,
        committee: settings.committee,
        replace_after: settings.replace_after,
        most_losses: settings.most_losses,
        offer: settings.offer.clone(),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        runs_as: users::runs_as(),
        most_claims: settings
            .until
            .first_claims(&inherited.early.mind, found.len()),
        seed: fastrand::u64(..),
    };
    let records = recovered.len();
    let replica = Replica::new(config, recovered, &super::found::runs(&found), now());
    info!(records, tag = %replica.own_tag(), "replica is ready");
    let (net, net_events) = net::start(NetConfig {
        listen: settings.listen.clone(),
        listened: inherited.early.mind.listened(),
        mdns: settings.mdns,
        bootstrap: mesh.bootstrap.clone(),
        address_book: Some(settings.data.join("addresses")),
        agent: format!("aque-node/{}", env!("CARGO_PKG_VERSION")),
        protocols: vec![PROTOCOL, passage::PROTOCOL],
        ..NetConfig::new(mesh.identity.clone(), mesh.secret.clone())
    })
    .await?;
    let (questions, asked) = mpsc::channel(QUESTION_QUEUE);
    let parts = Parts {
        replica,
        net,
        executor,
        log,
        outputs,
        mesh,
        settings,
        origin,
        early: inherited.early,
        door: Door::new(questions.clone()),
    };
    let mut node = Node::new(parts)?;
    if let Some(why) = failed {
        node.mishaps.note(Part::Successor, &why);
    }
    node.go_on_with(found);
    let (tell, parts) = mpsc::channel(16);
    let asking = (node.hello(), questions);
    let api = Api::open(&node.settings, inherited.api, asking, tell)?;
    node.announce();
    let parting = node.run(net_events, exec_events, done, asked, parts).await;
    let Ok(Parting::GivesWay(handover)) = parting else {
        api.close().await;
        return parting.map(|_left| None);
    };
    let api = api.leave().await;
    Ok(Some(Way { handover, api }))
}

/// Waits, on a thread, for a guard that had nothing to do and ended while programs changed: it is a child of this process.
fn reap_former(former: Option<u32>, present: Option<u32>) {
    let former = former.filter(|_| former != present);
    let former = former.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = former {
        tokio::task::spawn_blocking(move || {
            // It may be no child of ours: met, after an earlier crash.
            let ended = waitpid(Some(pid), WaitOptions::empty());
            tracing::debug!(?ended, "the guard of the former program");
        });
    }
}

/// Returns the addresses that a ticket for another host should carry.
pub(super) fn ticket_addresses(listening: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let tcp_first = |address: &Multiaddr| !address.to_string().contains("/tcp/");
    let mut list = listening;
    list.sort_by_key(tcp_first);
    list.truncate(8);
    list
}

/// Tells the service manager, if there is one, how this node is.
pub(super) fn sd_notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path));
    if let Err(error) = sent {
        warn!(%error, "the service manager was not told");
    }
}

/// Prints the one line that says that the node is ready.
pub(super) fn print_ready(line: &str) {
    let mut out = std::io::stdout();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads standard output");
    }
}
