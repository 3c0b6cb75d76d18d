//! "did you mean": the nearest of the words that would have fitted.

/// Returns the candidate nearest to `word`, if one is near enough to have been meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *candidate != word)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns how many keys were hit wrongly; a word that was cut short or grew counts as one.
fn distance(word: &str, candidate: &str) -> usize {
    let is_part = word.len().min(candidate.len()) >= 3 && (candidate.starts_with(word) || word.starts_with(candidate));
    match strsim::damerau_levenshtein(word, candidate) {
        distance if distance > 1 && is_part => 1,
        distance => distance,
    }
}

/// Returns "did you mean `…`?", or a list of what would have fitted.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let all = list(candidates.clone());
    match nearest(word, candidates) {
        Some(candidate) => format!("did you mean `{candidate}`? {what}: {all}"),
        None if all.is_empty() => format!("{what}: none"),
        None => format!("{what}: {all}"),
    }
}

/// Returns the words in backquotes with commas.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
