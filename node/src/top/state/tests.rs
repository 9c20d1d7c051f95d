//! Key by key: what is shown, and what is asked for.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::api::news::{HostWord, Place};
use crate::api::page::SortBy;
use crate::api::wire::{Call, StreamName};
use crdt::task::{Arg, TaskState};

use super::*;
use crate::top::fixture::{line, page};

fn begin() -> (State, Vec<Order>) {
    let beginning = Beginning {
        tab: Tab::Tasks,
        which: Which::default(),
        flat: false,
    };
    State::begin("alpha".into(), (80, 24), 1_000_000, beginning)
}

/// A state that shows the first of so many tasks.
fn shown(total: u64) -> State {
    let (mut state, orders) = begin();
    let number = asked(&orders).expect("the tasks are asked for").0;
    answer(&mut state, number, total);
    state
}

/// The question among the orders.
fn asked(orders: &[Order]) -> Option<(u64, PageQuery)> {
    orders.iter().find_map(|order| match order {
        Order::Page(number, query) => Some((*number, query.clone())),
        _ => None,
    })
}

/// The node's answer: tasks `k3v7qa-1` to the last, the first first.
fn answer(state: &mut State, number: u64, total: u64) -> Vec<Order> {
    let offset = state.tasks.offset;
    state.update(Message::Page(number, Ok(page(total, offset, 19))))
}

fn press(state: &mut State, keys: &[Key]) -> Vec<Order> {
    let orders = keys.iter().map(|key| state.update(Message::Key(*key)));
    orders.flatten().collect()
}

fn letters(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn events(events: Vec<Happening>) -> Message {
    let lines = events.into_iter().map(|what| EventLine {
        seq: 1,
        at_ms: 1_000_000,
        what,
    });
    Message::Events(EventList {
        place: Place { stream: 1, seq: 1 },
        events: lines.collect(),
        skipped: 0,
    })
}

fn task_event() -> Happening {
    Happening::Task {
        id: "k3v7qa-1".into(),
        group: None,
        name: None,
        user: None,
        state: TaskState::Running,
        reason: None,
        host: None,
        epoch: 1,
    }
}

#[test]
fn it_asks_for_what_the_screen_shows_and_for_no_more() {
    let (mut state, orders) = begin();
    let (number, query) = asked(&orders).unwrap();
    assert_eq!((query.offset, query.limit, query.anchor), (0, 19, None));
    assert!(orders.contains(&Order::Hosts));
    // One question at a time.
    assert_eq!(asked(&state.update(events(vec![task_event()]))), None);
    let orders = answer(&mut state, number, 100_000);
    let (number, _) = asked(&orders).expect("something has happened meanwhile");
    assert_eq!(asked(&answer(&mut state, number, 100_000)), None);
    assert_eq!(asked(&state.update(Message::Tick(1_001_000))), None);
}

#[test]
fn the_window_follows_the_mark() {
    let mut state = shown(100);
    let orders = press(&mut state, &[Key::Down; 18]);
    assert_eq!((state.tasks.selected, state.tasks.offset), (18, 0));
    assert_eq!(asked(&orders), None);
    let orders = press(&mut state, &[Key::Down]);
    let (number, query) = asked(&orders).expect("another row is wanted");
    assert_eq!((state.tasks.selected, query.offset), (19, 1));
    // What is marked then is not here yet.
    assert_eq!(query.anchor, None);
    answer(&mut state, number, 100);
    assert_eq!(state.tasks.marked().unwrap().id, "k3v7qa-20");
    press(&mut state, &[Key::End]);
    assert_eq!((state.tasks.selected, state.tasks.offset), (99, 81));
    press(&mut state, &[Key::PageUp, Key::Home, Key::Up]);
    assert_eq!((state.tasks.selected, state.tasks.offset), (0, 0));
}

#[test]
fn what_is_marked_stays_where_it_is_while_others_come() {
    let mut state = shown(100);
    press(&mut state, &[Key::Down; 3]);
    let (number, query) = asked(&state.update(events(vec![task_event()]))).unwrap();
    let anchor = query.anchor.unwrap();
    assert_eq!((anchor.id.as_str(), anchor.row), ("k3v7qa-4", 3));
    // Five new ones came before it.
    let mut answer = page(105, 5, 19);
    answer.tasks = (1..=19).map(|n| line(n, TaskState::Running)).collect();
    state.update(Message::Page(number, Ok(answer)));
    assert_eq!((state.tasks.offset, state.tasks.selected), (5, 8));
    assert_eq!(state.tasks.marked().unwrap().id, "k3v7qa-4");
    // Who has moved meanwhile stays where they went.
    let (number, _) = asked(&state.update(events(vec![task_event()]))).unwrap();
    press(&mut state, &[Key::Up]);
    state.update(Message::Page(number, Ok(page(105, 90, 15))));
    assert_eq!(state.tasks.selected, 7);
}

#[test]
fn a_list_that_shrinks_keeps_its_mark_in_it() {
    let mut state = shown(100);
    press(&mut state, &[Key::End]);
    let (number, _) = asked(&state.update(events(vec![task_event()]))).unwrap_or_default();
    for number in number..number + 3 {
        state.update(Message::Page(number, Ok(page(3, 0, 3))));
    }
    assert_eq!((state.tasks.selected, state.tasks.offset), (2, 0));
    let mut state = shown(0);
    press(
        &mut state,
        &[Key::Down, Key::End, Key::Enter, Key::Char('K')],
    );
    assert!(matches!(state.bar, Bar::Keys) && matches!(state.cover, Cover::None));
}

#[test]
fn answers_to_earlier_questions_are_dropped() {
    let mut state = shown(100);
    let (old, _) = asked(&press(&mut state, &[Key::Char('s')])).unwrap();
    let (new, query) = asked(&press(&mut state, &[Key::Char('S')])).unwrap();
    assert_eq!((query.sort, query.reversed), (SortBy::State, true));
    assert!(new > old && state.tasks.page.is_none());
    state.update(Message::Page(old, Ok(page(7, 0, 7))));
    assert!(state.tasks.page.is_none());
    state.update(Message::Page(new, Ok(page(9, 0, 9))));
    assert_eq!(state.tasks.total(), 9);
    state.update(Message::Page(new, Err("late".into())));
    assert_eq!(state.tasks.total(), 9);
}

#[test]
fn nothing_is_done_without_a_yes() {
    let mut state = shown(100);
    for (letter, verb) in [
        ('K', "kill"),
        ('R', "retry"),
        ('H', "hold"),
        ('L', "release"),
    ] {
        let orders = press(&mut state, &[Key::Char(letter)]);
        assert_eq!(orders, []);
        let Bar::Question(text, _) = &state.bar else {
            panic!("{:?}", state.bar)
        };
        assert_eq!(text, &format!("{verb} k3v7qa-1 (make 1)?"));
        for no in [
            Key::Char('n'),
            Key::Enter,
            Key::Escape,
            Key::Char('q'),
            Key::Char(letter),
        ] {
            assert_eq!(press(&mut state, &[no]), []);
            assert!(matches!(state.bar, Bar::Said(..)));
            press(&mut state, &[Key::Char(letter)]);
        }
        // What happens takes no question away, and what is pasted answers none.
        state.update(Message::Done(Err("something else".into())));
        state.update(Message::Pasted("y".into()));
        let orders = press(&mut state, &[Key::Char('y')]);
        let [Order::Act(act)] = &orders[..] else {
            panic!("{orders:?}")
        };
        let ids = match &act.call {
            Call::Kill {
                which, signal: 15, ..
            } if letter == 'K' => &which.ids,
            Call::Retry { which, .. } if letter == 'R' => &which.ids,
            Call::Hold { which } if letter == 'H' => &which.ids,
            Call::Release { which } if letter == 'L' => &which.ids,
            other => panic!("{other:?}"),
        };
        assert_eq!(ids, &["k3v7qa-1"]);
        state.update(Message::Done(Ok(act.done.clone())));
        assert!(matches!(&state.bar, Bar::Said(Said::Good(word), _) if word.contains(verb)));
        let later = state.now_ms + SAID_MS;
        state.update(Message::Tick(later));
        assert!(matches!(state.bar, Bar::Keys));
    }
}

#[test]
fn a_filter_is_typed_and_taken_back() {
    let mut state = shown(100);
    assert_eq!(press(&mut state, &letters("/mak")), []);
    // While it is typed, letters are letters.
    assert_eq!(press(&mut state, &letters("qK")), []);
    press(&mut state, &[Key::Backspace, Key::Backspace]);
    state.update(Message::Pasted("e\n\u{1b}[2J".into()));
    let (_, query) = asked(&press(&mut state, &[Key::Enter])).unwrap();
    assert_eq!(query.which.filter.as_deref(), Some("make[2J"));
    assert_eq!(state.tasks.typed, "make[2J");
    // Escape while typing keeps the one before.
    press(&mut state, &letters("/x"));
    assert_eq!(asked(&press(&mut state, &[Key::Escape])), None);
    assert_eq!(state.tasks.typed, "make[2J");
    let (_, query) = asked(&press(&mut state, &[Key::Escape])).unwrap();
    assert_eq!(query.which.filter, None);
}

#[test]
fn what_compares_is_a_filter_and_a_wrong_one_is_told() {
    let mut state = shown(100);
    press(&mut state, &letters("/exit != 0"));
    let (_, query) = asked(&press(&mut state, &[Key::Enter])).unwrap();
    let which = |query: &PageQuery| (query.which.filter.clone(), query.which.expr.clone());
    assert_eq!(which(&query), (None, Some("exit != 0".to_owned())));
    assert_eq!(state.tasks.typed, "exit != 0");
    // A wrong one stays to be mended, and changes nothing.
    press(&mut state, &letters("/"));
    press(&mut state, &letters(" and colour = red"));
    assert_eq!(asked(&press(&mut state, &[Key::Enter])), None);
    let Bar::Filter(edit, Some(why)) = &state.bar else {
        panic!("{:?}", state.bar);
    };
    assert_eq!(edit.text(), "exit != 0 and colour = red");
    assert!(why.contains("colour"), "{why}");
    assert_eq!(state.tasks.typed, "exit != 0");
    press(&mut state, &[Key::Escape]);
    // In quotes it is a text whatever is in it; empty, it is nothing.
    press(&mut state, &[Key::Escape]);
    press(&mut state, &letters("/\"A=b\""));
    let (_, query) = asked(&press(&mut state, &[Key::Enter])).unwrap();
    assert_eq!(which(&query), (Some("A=b".to_owned()), None));
    for (typed, is_filter) in [("/state in (error)", true), ("/make in here", false)] {
        press(&mut state, &[Key::Escape]);
        press(&mut state, &letters(typed));
        let (_, query) = asked(&press(&mut state, &[Key::Enter])).unwrap();
        assert_eq!(query.which.expr.is_some(), is_filter, "{typed}");
    }
}

#[test]
fn a_group_is_opened_and_closed_where_it_was() {
    let mut state = shown(100);
    let mut list = page(100, 0, 19);
    list.tasks[2].members = Some([("running".to_owned(), 5)].into());
    let (number, _) = asked(&state.update(events(vec![task_event()]))).unwrap();
    state.update(Message::Page(number, Ok(list)));
    let orders = press(&mut state, &[Key::Down, Key::Down, Key::Enter]);
    let (number, query) = asked(&orders).unwrap();
    assert_eq!(query.which.ids, ["k3v7qa-3"]);
    answer(&mut state, number, 5);
    assert_eq!(state.tasks.selected, 0);
    let (_, query) = asked(&press(&mut state, &[Key::Escape])).unwrap();
    assert!(query.which.ids.is_empty());
    assert_eq!(state.tasks.selected, 2);
}

#[test]
fn a_task_is_opened_and_what_it_prints_is_shown() {
    let mut state = shown(100);
    let orders = press(&mut state, &[Key::Enter]);
    assert_eq!(orders, [Order::Follow(1, "k3v7qa-1".into())]);
    let piece = |text: &str| OutputPiece {
        stream: StreamName::Stdout,
        host: Some("beta".into()),
        data: Arg::from(text),
    };
    state.update(Message::OutputAnew(1));
    state.update(Message::Output(1, piece("one\ntwo\n")));
    state.update(Message::Output(7, piece("of another view\n")));
    let texts = |state: &State| match &state.cover {
        Cover::Output(output) => {
            let lines = output.visible().into_iter();
            lines.map(|line| line.text).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(texts(&state), ["one", "two"]);
    // The link broke: it comes again.
    state.update(Message::OutputAnew(1));
    state.update(Message::Output(1, piece("one\ntwo\nthree")));
    state.update(Message::OutputEnd(1, Ok(())));
    assert_eq!(texts(&state), ["one", "two", "three"]);
    press(&mut state, &[Key::Char('K')]);
    assert!(matches!(&state.bar, Bar::Question(text, _) if text == "kill k3v7qa-1?"));
    press(&mut state, &[Key::Char('n')]);
    assert_eq!(press(&mut state, &[Key::Char('q')]), [Order::Unfollow]);
    // The next view is another one.
    let orders = press(&mut state, &[Key::Enter]);
    assert_eq!(orders, [Order::Follow(2, "k3v7qa-1".into())]);
}

#[test]
fn a_node_that_is_away_is_not_asked_and_then_asked_anew() {
    let mut state = shown(100);
    state.update(Message::Away("nobody listens".into()));
    assert_eq!(state.link, Link::Away(1_000_000, "nobody listens".into()));
    assert_eq!(
        press(&mut state, &[Key::End, Key::Char('2'), Key::Char('1')]),
        []
    );
    let orders = state.update(Message::Back);
    assert!(asked(&orders).is_some() && orders.contains(&Order::Hosts));
    // A question that got no answer does not stand in the way of the next.
    let number = asked(&orders).unwrap().0;
    state.update(Message::Page(
        number,
        Err("the node ended the connection".into()),
    ));
    assert!(asked(&state.update(events(vec![task_event()]))).is_some());
}

#[test]
fn hosts_are_asked_about_when_they_change_and_while_they_are_looked_at() {
    let mut state = shown(1);
    let host = Happening::Host {
        host: "beta".into(),
        tag: "abcdef".into(),
        is: HostWord::Silent,
    };
    assert_eq!(state.update(events(vec![host])), [Order::Hosts]);
    assert_eq!(state.update(Message::Tick(1_010_000)), []);
    assert_eq!(press(&mut state, &[Key::Char('2')]), [Order::Hosts]);
    assert_eq!(state.update(Message::Tick(1_011_000)), []);
    assert_eq!(state.update(Message::Tick(1_013_000)), [Order::Hosts]);
}

#[test]
fn while_something_runs_it_is_asked_now_and_then_how_far_it_is() {
    let (mut state, orders) = begin();
    let mut list = page(1, 0, 1);
    list.tasks[0].state = TaskState::Running;
    let number = asked(&orders).unwrap().0;
    state.update(Message::Page(number, Ok(list)));
    assert_eq!(asked(&state.update(Message::Tick(1_001_000))), None);
    assert!(asked(&state.update(Message::Tick(1_002_000))).is_some());
}

#[test]
fn events_gather_and_can_be_looked_back_over() {
    let mut state = shown(1);
    press(&mut state, &[Key::BackTab]);
    assert_eq!(state.tab, Tab::Events);
    for _ in 0..MOST_EVENTS / 10 + 5 {
        state.update(events(vec![task_event(); 10]));
    }
    assert_eq!(state.events.lines.len(), MOST_EVENTS);
    press(&mut state, &[Key::PageUp]);
    let newer = state.events.newer();
    assert_eq!(newer, 18);
    state.update(events(vec![task_event()]));
    assert_eq!(state.events.newer(), newer + 1);
    assert_eq!(state.events.visible(19).count(), 19);
    press(&mut state, &[Key::End]);
    assert_eq!(state.events.newer(), 0);
    // What was left out is told, and what is shown is asked for.
    let mut list = EventList {
        place: Place { stream: 1, seq: 9 },
        events: Vec::new(),
        skipped: 7,
    };
    let (number, _) = asked(&state.update(Message::Tick(9_000_000))).unwrap_or_default();
    state.update(Message::Page(number, Ok(page(1, 0, 1))));
    list.skipped = 7;
    state.update(Message::Events(list));
    let last = state.events.visible(1).last().unwrap();
    assert_eq!(last.what, Happening::Gap { lost: Some(7) });
}

#[test]
fn ways_out_and_in() {
    let mut state = shown(3);
    assert_eq!(press(&mut state, &[Key::Char('q')]), [Order::Leave(0)]);
    for keys in [
        &[][..],
        &[Key::Char('?')],
        &[Key::Char('/')],
        &[Key::Char('K')],
        &[Key::Enter],
    ] {
        let mut state = shown(3);
        press(&mut state, keys);
        assert_eq!(press(&mut state, &[Key::Ctrl('c')]), [Order::Leave(130)]);
        assert_eq!(press(&mut state, &[Key::Ctrl('z')]), [Order::Suspend]);
    }
    assert_eq!(state.update(Message::Leave(143)), [Order::Leave(143)]);
    assert_eq!(state.update(Message::Continued), [Order::TakeAgain]);
    press(&mut state, &[Key::Char('?')]);
    press(&mut state, &[Key::Down]);
    assert!(
        matches!(state.cover, Cover::Help(0)),
        "all of it is on the screen"
    );
    state.update(Message::Resized(40, 5));
    press(&mut state, &[Key::End, Key::Up]);
    assert!(matches!(state.cover, Cover::Help(from) if from + 4 == KEYS.len()));
    press(&mut state, &[Key::Char('q')]);
    assert!(matches!(state.cover, Cover::None));
}

#[test]
fn any_size_will_do() {
    let mut state = shown(100);
    for (columns, lines) in [(0, 0), (1, 1), (20, 5), (200, 60), (80, 2)] {
        let orders = state.update(Message::Resized(columns, lines));
        if let Some((number, query)) = asked(&orders) {
            assert!(query.limit >= 1);
            answer(&mut state, number, 100);
        }
        press(
            &mut state,
            &[Key::End, Key::PageUp, Key::Home, Key::PageDown],
        );
        assert!(state.tasks.selected < 100);
    }
}
