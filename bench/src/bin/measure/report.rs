//! Statistics over the samples.

use serde::Serialize;

use crate::commands::Command;
use crate::run::Sample;

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) runs: usize,
    /// The peak of a program that does nothing: the lower limit of what can be measured.
    pub(crate) least_peak_kib: u64,
    pub(crate) commands: Vec<Costs>,
}

#[derive(Serialize)]
pub(crate) struct Costs {
    pub(crate) name: String,
    pub(crate) wall_ms: Summary,
    pub(crate) cpu_ms: Summary,
    pub(crate) peak_kib: Summary,
}

#[derive(Serialize)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    /// This median divided by that of the first command.
    pub(crate) ratio: f64,
    /// The median of each round's ratio to the first command, in which a disturbance of a whole round cancels out.
    pub(crate) paired: f64,
}

/// Each of `rounds` has one sample for each command, in order. There must be at least one round.
pub(crate) fn summarize(commands: &[Command], rounds: &[Vec<Sample>], least_peak_kib: u64) -> Report {
    let costs = |(index, command): (usize, &Command)| {
        let summary = |metric: fn(&Sample) -> f64| {
            let column = |index: usize| rounds.iter().map(|round| metric(&round[index])).collect::<Vec<_>>();
            summarize_one(&column(index), &column(0))
        };
        Costs {
            name: command.name.clone(),
            wall_ms: summary(|sample| sample.wall.as_secs_f64() * 1e3),
            cpu_ms: summary(|sample| sample.cpu.as_secs_f64() * 1e3),
            peak_kib: summary(|sample| sample.peak_kib as f64),
        }
    };
    Report { runs: rounds.len(), least_peak_kib, commands: commands.iter().enumerate().map(costs).collect() }
}

fn summarize_one(values: &[f64], first: &[f64]) -> Summary {
    let sorted = sort(values.to_vec());
    let ratios = values.iter().zip(first).map(|(value, first)| value / first).collect();
    Summary {
        min: sorted[0],
        median: median(&sorted),
        max: sorted[sorted.len() - 1],
        ratio: median(&sorted) / median(&sort(first.to_vec())),
        paired: median(&sort(ratios)),
    }
}

fn sort(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_round_moves_the_ratio_of_medians_but_not_the_paired_one() {
        let summary = summarize_one(&[2.0, 40.0, 60.0], &[1.0, 20.0, 10.0]);
        assert_eq!((summary.min, summary.median, summary.max), (2.0, 40.0, 60.0));
        assert_eq!((summary.ratio, summary.paired), (4.0, 2.0));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
