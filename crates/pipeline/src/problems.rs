//! What is wrong with a file: errors are collected with their places, so that several are reported at once.

use std::sync::Arc;

use engine::{Code, Error, Place};

use crate::variables::Secrets;
use crate::yaml::Scalar;

/// How many errors are told at once.
const MAX_ERRORS: usize = 50;

/// A stretch of the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Returns the part of it that lies in the text, on borders of characters.
    pub(crate) fn within(self, text: &str) -> Self {
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        Self::new(floor(self.start), floor(self.end))
    }
}

/// The errors and warnings of one file.
pub(crate) struct Problems {
    file: String,
    text: Arc<str>,
    pub(crate) errors: Vec<Error>,
    pub(crate) warnings: Vec<Error>,
    /// Scalars whose variables could not be put in: what else is wrong with them follows from that.
    unfilled: Vec<Span>,
    /// Secrets that stand in the file itself.
    hidden: Vec<Span>,
}

impl Problems {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            errors: Vec::new(),
            warnings: Vec::new(),
            unfilled: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// Returns the file's text.
    pub(crate) fn text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Returns the number of the line, from 1, that holds this byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Adds an error and returns it, so that help can be added.
    pub(crate) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Error {
        let error = self.at(code, span, message.into(), label.into());
        self.errors.push(error);
        self.errors.last_mut().expect("one was just pushed")
    }

    /// Adds a warning and returns it.
    pub(crate) fn warning(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Error {
        let warning = self.at(code, span, message.into(), label.into());
        self.warnings.push(warning);
        self.warnings.last_mut().expect("one was just pushed")
    }

    /// Gives another help to the errors since `before` that point at a name and know of no column of that name.
    pub(crate) fn hint(&mut self, before: usize, hint: impl Fn(&str) -> Option<String>) {
        let is_of_names = |error: &&mut Error| matches!(error.code, Code::Name | Code::Expression);
        for error in self.errors.iter_mut().skip(before).filter(is_of_names) {
            let Some(place) = &error.place else { continue };
            let written = &place.text[place.start..place.end];
            if error.message == format!("there is no column `{written}`")
                && let Some(hint) = hint(written)
            {
                error.help = Some(hint);
            }
        }
    }

    /// Notes a stretch of the file that must not be shown.
    pub(crate) fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    /// Returns the text with `*` for what must not be shown; every byte stays where it is.
    fn shown_text(&self) -> Arc<str> {
        let mut text = self.text.to_string();
        for span in &self.hidden {
            let span = span.within(&text);
            text.replace_range(span.start..span.end, &"*".repeat(span.end - span.start));
        }
        text.into()
    }

    /// Notes a scalar whose variables could not be put in.
    pub(crate) fn unfilled(&mut self, span: Span) {
        self.unfilled.push(span);
    }

    /// Returns the place in the file of a stretch of a scalar's text; the whole scalar where that cannot be told.
    pub(crate) fn place_in(&self, scalar: &Scalar, start: usize, end: usize) -> Span {
        let whole = scalar.span.within(&self.text);
        let found = match &scalar.written {
            None => find_in(&self.text[whole.start..whole.end], &scalar.text, start, end),
            Some(_) => None,
        };
        found.map_or(whole, |(start, end)| Span::new(whole.start + start, whole.start + end))
    }

    /// Returns the errors and warnings in the order of their places, without secrets.
    pub(crate) fn finish(mut self, secrets: Option<&Secrets>) -> (Vec<Error>, Vec<Error>) {
        let unfilled = std::mem::take(&mut self.unfilled);
        let follows = |error: &Error| {
            let place = error.place.as_ref().filter(|_| error.code != Code::Variable);
            place.is_some_and(|place| unfilled.iter().any(|span| span.start <= place.start && place.end <= span.end))
        };
        self.errors.retain(|error| !follows(error));
        let text = if self.hidden.is_empty() { self.text.clone() } else { self.shown_text() };
        for errors in [&mut self.errors, &mut self.warnings] {
            errors.sort_by_key(|error| error.place.as_ref().map(|place| (place.start, place.end)));
            let Some(secrets) = secrets else { continue };
            for error in errors {
                error.message = secrets.redact(&error.message);
                error.help = error.help.as_ref().map(|help| secrets.redact(help));
                if let Some(place) = &mut error.place {
                    place.label = secrets.redact(&place.label);
                    place.text = text.clone();
                }
            }
        }
        if self.errors.len() > MAX_ERRORS {
            let more = self.errors.len() - MAX_ERRORS;
            self.errors.truncate(MAX_ERRORS);
            self.errors.push(Error::new(Code::Field, format!("and {more} more errors, which are not shown")));
        }
        (self.errors, self.warnings)
    }

    /// Adds an error that has no place.
    pub(crate) fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    fn at(&self, code: Code, span: Span, message: String, label: String) -> Error {
        let span = span.within(&self.text);
        let mut error = Error::new(code, message);
        error.place = Some(Box::new(Place {
            file: self.file.clone(),
            text: self.text.clone(),
            start: span.start,
            end: span.end,
            label,
        }));
        error
    }
}

/// Finds where a stretch of a scalar's text stands in its source: quotes, escapes, line breaks and indentation are in
/// the source only. None where the two cannot be laid side by side.
fn find_in(source: &str, text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let quote = source.chars().next().filter(|c| matches!(c, '"' | '\''));
    let mut rest = source.char_indices().skip(usize::from(quote.is_some())).peekable();
    let mut found = None;
    for (at, c) in text.char_indices() {
        // A line break and what surrounds it in the source is one blank, or nothing, in the text.
        while let Some((_, written)) = rest.peek().copied() {
            if written == c || (c.is_whitespace() && written.is_whitespace()) {
                break;
            }
            if !(written.is_whitespace() || (written == '\\' && quote == Some('"'))) {
                return None;
            }
            rest.next();
        }
        let (place, written) = rest.next()?;
        if c == '\'' && quote == Some('\'') {
            rest.next_if(|(_, next)| *next == '\'');
        }
        if at <= start {
            found = Some((place, place + written.len_utf8()));
        } else if at < end {
            found = found.map(|(first, _)| (first, place + written.len_utf8()));
        }
    }
    found.filter(|_| start < text.len())
}
