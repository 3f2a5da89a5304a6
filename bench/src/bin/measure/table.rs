//! The report as a text table.

use std::fmt::Write as _;

use crate::report::{Report, Summary};

/// One block for each metric, one line for each command.
pub(crate) fn render(report: &Report) -> String {
    let width = report.commands.iter().map(|command| command.name.chars().count()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    let mut block = |title: &str, decimals: usize, lines: Vec<(&str, &Summary)>| {
        let _ = writeln!(
            text,
            "{title:width$}  {:>9}  {:>9}  {:>9}  {:>8}  {:>8}",
            "min", "median", "max", "ratio", "paired"
        );
        for (name, summary) in lines {
            let Summary { min, median, max, ratio, paired } = summary;
            let _ = writeln!(
                text,
                "{name:width$}  {min:>9.decimals$}  {median:>9.decimals$}  {max:>9.decimals$}  {ratio:>8.2}  {paired:>8.2}"
            );
        }
        text.push('\n');
    };
    let commands = &report.commands;
    block("wall ms", 2, commands.iter().map(|command| (command.name.as_str(), &command.wall_ms)).collect());
    block("CPU ms", 2, commands.iter().map(|command| (command.name.as_str(), &command.cpu_ms)).collect());
    block("peak KiB", 0, commands.iter().map(|command| (command.name.as_str(), &command.peak_kib)).collect());
    let _ = writeln!(
        text,
        "{} runs of each; ratio: of the medians, to the first line; paired: the median of each round's ratio.\n\
         A program that does nothing peaks at {} KiB here: smaller peaks cannot be measured.",
        report.runs, report.least_peak_kib
    );
    text
}
