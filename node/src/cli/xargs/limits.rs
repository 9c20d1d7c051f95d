//! `--show-limits`: how large commands may be here, in the words of GNU xargs.

use std::os::unix::ffi::OsStrExt;

use super::pack::MAX_CHARS;
use crate::render::note;

/// Tells the limits on standard error.
pub(super) fn show(max_chars: usize) {
    let environment: usize = std::env::vars_os()
        .map(|(name, value)| name.as_bytes().len() + value.as_bytes().len() + 2)
        .sum();
    for line in lines(environment, max_chars) {
        note(&line);
    }
}

fn lines(environment: usize, max_chars: usize) -> [String; 4] {
    [
        format!("Your environment variables take up {environment} bytes"),
        format!("Maximum length of command we could actually use: {MAX_CHARS}"),
        format!("Size of command buffer we are actually using: {max_chars}"),
        format!(
            "Maximum parallelism (--max-procs must be no greater): {}",
            u32::MAX
        ),
    ]
}
