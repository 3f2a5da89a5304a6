//! Times as people write them, on the command line and in the clusters file: `500ms`, `10s`, `1m30s`.

use std::time::Duration;

/// The longest time that is taken: beyond it clocks cannot add up.
const LONGEST_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a time that may be zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if humantime::parse_duration(text) == Ok(Duration::ZERO) {
        Ok(Duration::ZERO)
    } else {
        positive_duration(text)
    }
}

/// Reads a time that the API server is asked for, which counts in seconds.
pub(crate) fn whole_seconds(text: &str) -> Result<Duration, String> {
    positive_duration(text).and_then(|time| {
        if time < Duration::from_secs(1) { Err("must be a second or longer".to_owned()) } else { Ok(time) }
    })
}

/// Reads a time that is not zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than zero".to_owned()),
        Ok(duration) if duration > LONGEST_DURATION => Err("must not be longer than a year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write 500ms, 10s or 1m30s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_zero_is_no_timeout() {
        assert_eq!(positive_duration("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["0s", "", "-1s", "10", "1x"] {
            assert!(positive_duration(text).is_err(), "{text}");
        }
    }
}
