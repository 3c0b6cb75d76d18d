//! Tables that two crates must agree on.

use std::collections::BTreeSet;

use connectors::sink::SINKS;

#[test]
fn the_pipeline_file_offers_the_sinks_that_are_built_with_the_settings_they_read() {
    let offered: BTreeSet<(&str, BTreeSet<&str>)> =
        pipeline::sink_kinds().map(|(name, settings)| (name, settings.into_iter().collect())).collect();
    let built = SINKS.iter().map(|kind| {
        let settings = kind.settings.iter().filter(|setting| setting.is_built);
        (kind.name, settings.map(|setting| setting.name.trim_end_matches('.')).collect())
    });
    assert_eq!(offered, built.collect());
}

#[test]
fn the_definition_digest_holds_the_version_of_the_decoder_that_is_built() {
    assert_eq!(pipeline::digest::DECODER_VERSION, connectors::format::DECODER_VERSION);
}
