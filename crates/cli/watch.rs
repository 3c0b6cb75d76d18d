//! A run that is watched from outside: its numbers go to a server, its progress where it always goes.

use std::path::Path;
use std::sync::Arc;

use engine::plan::Plan;
use engine::{Code, Error, Result};
use runtime::driver::Meanwhile;
use runtime::{Numbers, Observer, Progress};
use web::{About, Board, Options, Server};

use crate::progress::Shown;

/// The variable that holds the token. It has no option, because a command line can be seen by others.
pub(crate) const TOKEN: &str = "SAMESTREAM_METRICS_TOKEN";

/// An observer that shows progress and hands on numbers.
pub(crate) struct Watched<'a> {
    shown: &'a Shown,
    board: Option<Arc<Board>>,
}

impl<'a> Watched<'a> {
    /// Makes one that only shows progress, or also fills the board.
    pub(crate) fn new(shown: &'a Shown, board: Option<Arc<Board>>) -> Self {
        Self { shown, board }
    }
}

impl Observer for Watched<'_> {
    fn progress(&self, progress: &Progress) {
        self.shown.progress(progress);
    }

    fn watches(&self) -> bool {
        self.board.is_some()
    }

    fn numbers(&self, numbers: Numbers) {
        if let Some(board) = &self.board {
            board.put(numbers);
        }
    }

    fn meanwhile(&self) -> Option<Meanwhile> {
        let board = self.board.clone()?;
        Some(Box::new(move |numbers| board.amend(numbers)))
    }
}

/// Begins to serve a run's numbers.
pub(crate) fn serve(plan: &Plan, address: &str, token_file: Option<&Path>) -> Result<(Server, Arc<Board>)> {
    let about = About {
        pipeline: plan.name.clone(),
        definition: plan.definition.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let board = Board::new(about);
    let options = Options { address: address.into(), token: token(token_file)? };
    Ok((Server::start(&options, board.clone())?, board))
}

/// Returns the token, from a file or the environment.
fn token(file: Option<&Path>) -> Result<Option<String>> {
    let (token, from) = match (file, std::env::var(TOKEN)) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::io(format!("cannot read the token in `{}`", path.display()), error))?;
            (text.trim().to_string(), path.display().to_string())
        }
        (None, Ok(token)) => (token.trim().to_string(), TOKEN.to_string()),
        (None, Err(_)) => return Ok(None),
    };
    // What it is, is not said.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::new(
            Code::Usage,
            format!("the token in `{from}` is empty, or has other than visible ASCII"),
        )
        .help("make one: `head -c 24 /dev/urandom | base64`"));
    }
    Ok(Some(token))
}
