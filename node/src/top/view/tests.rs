//! Screens of several sizes, as they are drawn; and what must never be drawn.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::api::news::{EventLine, EventList, Happening, HostWord, Place};
use crate::api::page::{Page, Which};
use crate::api::wire::{NodeLine, OutputPiece, TaskLine};
use crate::render::text::steers;
use crate::top::fixture::{host, line};
use crate::top::state::{Beginning, Key, Message, Order};
use crdt::task::Arg;

const SIZES: [(u16, u16); 4] = [(20, 5), (40, 12), (80, 24), (200, 60)];
const NOW: u64 = 1_000_000;

fn look(paint: Paint) -> Look {
    Look {
        paint,
        zone: TimeZone::UTC,
    }
}

fn begin(size: (u16, u16), tab: Tab) -> (State, Vec<Order>) {
    let beginning = Beginning {
        tab,
        which: Which::default(),
        flat: false,
    };
    State::begin("alpha".into(), size, NOW, beginning)
}

/// Tasks in every state, a group, and words of all kinds.
fn tasks() -> Vec<TaskLine> {
    let mut lines: Vec<TaskLine> = (1..).zip(TaskState::ALL).map(|(n, s)| line(n, s)).collect();
    lines[5] = TaskLine {
        host: Some("beta".into()),
        attempts: 2,
        started_ms: Some(NOW - 65_000),
        progress: Some("0.42 rendering".into()),
        name: Some("pictures".into()),
        ..lines[5].clone()
    };
    lines[7] = TaskLine {
        host: Some("alpha".into()),
        attempts: 1,
        reason: Some("exit 3".into()),
        started_ms: Some(NOW - 5_000),
        ended_ms: Some(NOW - 1_500),
        command: "render --quality best --scene 'the long way home' frame-0001.png".into(),
        ..lines[7].clone()
    };
    lines[1] = TaskLine {
        name: Some("grün ✓ 写真".into()),
        command: String::new(),
        members: Some([("running".to_owned(), 3), ("success".to_owned(), 97)].into()),
        ..lines[1].clone()
    };
    lines
}

fn hosts() -> Vec<NodeLine> {
    vec![
        NodeLine {
            own: true,
            round_trip_ms: None,
            ..host("alpha")
        },
        NodeLine {
            draining: true,
            ..host("beta")
        },
        NodeLine {
            alive: false,
            silent_ms: Some(125_000),
            round_trip_ms: None,
            ..host("gamma")
        },
    ]
}

fn happenings() -> Vec<Happening> {
    let task = |state, reason: Option<&str>| Happening::Task {
        id: "k3v7qa-1".into(),
        group: None,
        name: Some("pictures".into()),
        user: Some("ann".into()),
        state,
        reason: reason.map(str::to_owned),
        host: Some("beta".into()),
        epoch: 1,
    };
    vec![
        task(TaskState::Running, None),
        task(TaskState::Error, Some("exit 3")),
        Happening::Host {
            host: "gamma".into(),
            tag: "abcdef".into(),
            is: HostWord::Silent,
        },
        Happening::Setting {
            name: "heartbeat".into(),
            value: Some("500ms".into()),
            by: "ann".into(),
        },
        Happening::Gap { lost: Some(12) },
    ]
}

/// A state that has been told all of this.
fn told(
    size: (u16, u16),
    tab: Tab,
    tasks: Vec<TaskLine>,
    hosts: Vec<NodeLine>,
    happened: Vec<Happening>,
) -> State {
    let (mut state, orders) = begin(size, tab);
    for order in orders {
        match order {
            Order::Page(number, query) => {
                let total = tasks.len() as u64;
                let mut part = tasks.clone();
                part.truncate(query.limit as usize);
                let page = Page {
                    total,
                    offset: 0,
                    counts: [("running".to_owned(), 4), ("success".to_owned(), 98)].into(),
                    tasks: part,
                };
                state.update(Message::Page(number, Ok(page)));
            }
            Order::Hosts => drop(state.update(Message::Hosts(hosts.clone()))),
            other => panic!("{other:?}"),
        }
    }
    let lines = happened.into_iter().map(|what| EventLine {
        seq: 1,
        at_ms: NOW,
        what,
    });
    state.update(Message::Events(EventList {
        place: Place { stream: 1, seq: 5 },
        events: lines.collect(),
        skipped: 0,
    }));
    state
}

fn usual(size: (u16, u16), tab: Tab) -> State {
    told(size, tab, tasks(), hosts(), happenings())
}

fn press(state: &mut State, keys: &[Key]) {
    for key in keys {
        state.update(Message::Key(*key));
    }
}

/// What stands on the screen.
fn screen(state: &State) -> TestBackend {
    let (columns, lines) = state.size;
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("memory");
    terminal
        .draw(|frame| {
            draw(state, &look(Paint::Colours), frame.buffer_mut());
        })
        .expect("memory");
    terminal.backend().clone()
}

/// A task that is looked at, with what it has printed.
fn output(size: (u16, u16), text: &[u8]) -> State {
    let mut state = usual(size, Tab::Tasks);
    press(&mut state, &[Key::Enter]);
    for (stream, data) in [
        (StreamName::Stdout, text),
        (StreamName::Stderr, b"warning\n"),
    ] {
        state.update(Message::Output(
            1,
            OutputPiece {
                stream,
                host: Some("beta".into()),
                data: Arg(data.to_vec()),
            },
        ));
    }
    state
}

fn check(name: &str, state: &State) {
    let (columns, lines) = state.size;
    insta::assert_snapshot!(format!("{name}-{columns}x{lines}"), screen(state));
}

#[test]
fn tasks_at_every_size() {
    for size in SIZES {
        let mut state = usual(size, Tab::Tasks);
        press(&mut state, &[Key::Down]);
        check("tasks", &state);
    }
}

#[test]
fn hosts_at_every_size() {
    for size in SIZES {
        check("hosts", &usual(size, Tab::Hosts));
    }
}

#[test]
fn events_at_every_size() {
    for size in SIZES {
        check("events", &usual(size, Tab::Events));
    }
}

#[test]
fn output_at_every_size() {
    for size in SIZES {
        check(
            "output",
            &output(size, b"one\ntwo\tand more\n10%\r20%\r30%"),
        );
    }
}

#[test]
fn what_else_there_is_to_see() {
    let small = (40, 12);
    let mut state = usual(small, Tab::Tasks);
    press(&mut state, &[Key::Char('?')]);
    check("help", &state);
    press(&mut state, &[Key::Escape, Key::Char('K')]);
    check("question", &state);
    press(&mut state, &[Key::Char('n')]);
    check("said", &state);
    press(
        &mut state,
        &[Key::Char('/'), Key::Char('m'), Key::Char('写'), Key::Left],
    );
    check("filter", &state);
    let mut state = usual(small, Tab::Tasks);
    state.update(Message::Away("nobody listens".into()));
    state.update(Message::Tick(NOW + 5_000));
    check("away", &state);
    check("nothing", &told(small, Tab::Tasks, vec![], vec![], vec![]));
    check("beginning", &begin(small, Tab::Tasks).0);
}

#[test]
fn the_cursor_stands_where_the_next_letter_goes() {
    let mut state = usual((40, 12), Tab::Tasks);
    let cursor = |state: &State| {
        let (columns, lines) = state.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
        draw(state, &look(Paint::Colours), &mut buffer)
    };
    assert_eq!(cursor(&state), None);
    press(&mut state, &[Key::Char('/')]);
    assert_eq!(cursor(&state), Some((1, 11)));
    press(&mut state, &[Key::Char('写'), Key::Char('x'), Key::Left]);
    assert_eq!(cursor(&state), Some((3, 11)));
    // A line that is longer than the screen is moved.
    press(&mut state, &[Key::Char('y'); 100]);
    assert_eq!(cursor(&state), Some((39, 11)));
}

#[test]
fn without_colours_there_are_none_and_what_is_marked_is_still_seen() {
    let state = usual((80, 24), Tab::Tasks);
    let area = Rect::new(0, 0, 80, 24);
    let drawn = |paint| {
        let mut buffer = Buffer::empty(area);
        draw(&state, &look(paint), &mut buffer);
        buffer
    };
    let (plain, coloured) = (drawn(Paint::Plain), drawn(Paint::Colours));
    let colours = |buffer: &Buffer| {
        let mut cells = buffer.content.iter();
        cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(colours(&coloured) && !colours(&plain));
    let marked = plain[(0, Layout::of(24).body)].modifier;
    assert!(marked.contains(Modifier::REVERSED));
}

/// Whatever hosts, tasks and people call themselves, and whatever tasks print: what reaches a terminal are characters in cells.
#[test]
fn hostile_text_steers_no_terminal() {
    let evil = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\n\u{202e}\u{2066}\u{200f}\u{0}é写";
    let mut list = tasks();
    for line in &mut list {
        line.id = evil.into();
        line.name = Some(evil.into());
        line.command = evil.into();
        line.host = Some(evil.into());
        line.reason = Some(evil.into());
        line.progress = Some(evil.into());
    }
    list[0].members = None;
    let nodes = vec![NodeLine {
        tag: evil.into(),
        version: evil.into(),
        ..host(evil)
    }];
    let happened = vec![
        Happening::Mishap {
            part: evil.into(),
            what: evil.into(),
        },
        Happening::Setting {
            name: evil.into(),
            value: Some(evil.into()),
            by: evil.into(),
        },
        Happening::Host {
            host: evil.into(),
            tag: evil.into(),
            is: HostWord::Joined,
        },
    ];
    for size in SIZES {
        for tab in Tab::ALL {
            let mut state = told(size, tab, list.clone(), nodes.clone(), happened.clone());
            state.node = evil.into();
            assert_harmless(&state);
            press(&mut state, &[Key::Char('1'), Key::Char('K')]);
            assert_harmless(&state);
            press(&mut state, &[Key::Char('n')]);
            state.update(Message::Done(Err(evil.into())));
            assert_harmless(&state);
            state.update(Message::Away(evil.into()));
            assert_harmless(&state);
            press(&mut state, &[Key::Char('/')]);
            state.update(Message::Pasted(evil.into()));
            assert_harmless(&state);
        }
        let mut state = output(size, evil.as_bytes());
        assert_harmless(&state);
        state.update(Message::OutputEnd(1, Err(evil.into())));
        assert_harmless(&state);
    }
}

#[track_caller]
fn assert_harmless(state: &State) {
    let screen = screen(state);
    for cell in &screen.buffer().content {
        assert!(!cell.symbol().contains(steers), "{:?}", cell.symbol());
    }
}
