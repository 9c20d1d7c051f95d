//! Keys, from the terminal's events.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Key, Message};

/// Returns what an event says, if it means anything here.
pub(crate) fn message(event: Event) -> Option<Message> {
    match event {
        Event::Key(event) => key(event).map(Message::Key),
        Event::Paste(text) => Some(Message::Pasted(text)),
        Event::Resize(columns, lines) => Some(Message::Resized(columns, lines)),
        Event::FocusGained | Event::FocusLost | Event::Mouse(_) => None,
    }
}

fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let with_control = event.modifiers.contains(KeyModifiers::CONTROL);
    let with_other = event
        .modifiers
        .intersects(KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META);
    Some(match event.code {
        KeyCode::Char(_) if with_other => return None,
        KeyCode::Char(c) if with_control => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_table() {
        let with = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let shown = |event| match message(event) {
            Some(Message::Key(key)) => Some(key),
            _ => None,
        };
        let none = KeyModifiers::NONE;
        for (event, key) in [
            (with(KeyCode::Char('k'), none), Some(Key::Char('k'))),
            (
                with(KeyCode::Char('K'), KeyModifiers::SHIFT),
                Some(Key::Char('K')),
            ),
            (
                with(KeyCode::Char('C'), KeyModifiers::CONTROL),
                Some(Key::Ctrl('c')),
            ),
            (with(KeyCode::Char('k'), KeyModifiers::ALT), None),
            (with(KeyCode::F(9), none), None),
            (with(KeyCode::Enter, none), Some(Key::Enter)),
        ] {
            assert_eq!(shown(event.clone()), key, "{event:?}");
        }
        let mut released = KeyEvent::new(KeyCode::Char('K'), none);
        released.kind = KeyEventKind::Release;
        assert_eq!(shown(Event::Key(released)), None);
    }
}
