//! The syntax of durations, which flags, the clusters file and annotations share.

use std::time::Duration;

/// The longest accepted duration: adding a longer one to the current time could overflow.
const LONGEST_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// Parses a duration, such as `500ms`, `10s` or `1m30s`, that may be zero.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    if humantime::parse_duration(text) == Ok(Duration::ZERO) {
        Ok(Duration::ZERO)
    } else {
        positive_duration(text)
    }
}

/// Parses a duration of at least a second, for requests whose timeout the API server counts in seconds.
pub(crate) fn whole_seconds(text: &str) -> Result<Duration, DurationError> {
    positive_duration(text).and_then(|time| {
        if time < Duration::from_secs(1) { Err(DurationError::UnderASecond) } else { Ok(time) }
    })
}

/// Parses a duration that is not zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, DurationError> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err(DurationError::Zero),
        Ok(duration) if duration > LONGEST_DURATION => Err(DurationError::TooLong),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.into()),
    }
}

/// Text that is not an accepted duration.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum DurationError {
    #[error("must be longer than zero")]
    Zero,
    #[error("must be a second or longer")]
    UnderASecond,
    #[error("must not be longer than a year")]
    TooLong,
    #[error("{0}; write 500ms, 10s or 1m30s")]
    Syntax(#[from] humantime::DurationError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_zero_is_rejected() {
        assert_eq!(positive_duration("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["0s", "", "-1s", "10", "1x"] {
            assert!(positive_duration(text).is_err(), "{text}");
        }
    }
}
