//! What a contest comes to, one contestant against `auto`: ratios of times, their mean, their extremes, and the totals.

/// One shape of a set, with each contestant's time on it.
#[derive(Debug, Clone)]
pub struct Row {
    pub label: String,
    /// Nominal operations of a call.
    pub flops: f64,
    /// How often the network has this layer.
    pub repetitions: usize,
    /// Which contestant `auto` chooses, if any takes part.
    pub auto: Option<usize>,
    /// Seconds of the shortest sample, and of the median one, of those that were timed.
    pub times: Vec<Option<(f64, f64)>>,
}

impl Row {
    /// Seconds of the contestant `auto` chooses.
    pub fn auto_time(&self) -> Option<f64> {
        Some(self.times[self.auto?]?.0)
    }

    /// A contestant's time over that of `auto`: 2 is twice as long. By the shortest samples, which disturbances of the
    /// machine touch least.
    pub fn ratio(&self, contestant: usize) -> Option<f64> {
        Some(self.times[contestant]?.0 / self.auto_time()?)
    }
}

/// A contestant against `auto`, over the shapes on which both were timed.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub shapes: usize,
    pub geometric_mean: f64,
    /// The least ratio, which is `auto`'s worst case, and its shape.
    pub worst: (f64, String),
    /// The largest ratio and its shape.
    pub best: (f64, String),
    /// Seconds of all these layers, each as often as the network has it.
    pub total: f64,
    /// The same of `auto`.
    pub auto_total: f64,
}

impl Summary {
    /// `None` where there is no shape on which both were timed.
    pub fn of(rows: &[Row], contestant: usize) -> Option<Summary> {
        let both = || rows.iter().filter_map(|row| Some((row, row.ratio(contestant)?)));
        let by_ratio = |a: &(&Row, f64), b: &(&Row, f64)| a.1.total_cmp(&b.1);
        let (worst, best) = (both().min_by(by_ratio)?, both().max_by(by_ratio)?);
        let shapes = both().count();
        let total = |time: &dyn Fn(&Row) -> Option<f64>| -> f64 {
            both().filter_map(|(row, _)| Some(time(row)? * row.repetitions as f64)).sum()
        };
        Some(Summary {
            shapes,
            geometric_mean: (both().map(|(_, ratio)| ratio.ln()).sum::<f64>() / shapes as f64).exp(),
            worst: (worst.1, worst.0.label.clone()),
            best: (best.1, best.0.label.clone()),
            total: total(&|row| Some(row.times[contestant]?.0)),
            auto_total: total(&Row::auto_time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, repetitions: usize, times: [Option<f64>; 2]) -> Row {
        let times = times.map(|time| time.map(|best| (best, 2.0 * best))).to_vec();
        Row { label: label.to_owned(), flops: 1e9, repetitions, auto: Some(0), times }
    }

    #[test]
    fn a_contestant_is_summed_up_over_the_shapes_that_both_were_timed_on() {
        let rows = [
            row("a", 1, [Some(1.0), Some(4.0)]),
            row("b", 3, [Some(2.0), Some(1.0)]),
            row("c", 1, [Some(8.0), None]),
            row("d", 1, [None, Some(8.0)]),
            row("e", 2, [Some(0.5), Some(2.0)]),
        ];
        let summary = Summary::of(&rows, 1).unwrap();
        // Ratios 4, 1/2 and 4.
        assert!((summary.geometric_mean - 2.0).abs() < 1e-15, "{summary:?}");
        assert_eq!(summary.shapes, 3);
        assert_eq!(summary.worst, (0.5, "b".to_owned()));
        assert_eq!(summary.best.0, 4.0);
        assert_eq!((summary.total, summary.auto_total), (4.0 + 3.0 + 4.0, 1.0 + 6.0 + 1.0));
        let own = Summary::of(&rows, 0).unwrap();
        assert_eq!((own.geometric_mean, own.total), (1.0, own.auto_total));
    }

    #[test]
    fn without_a_common_shape_there_is_no_summary() {
        assert_eq!(Summary::of(&[row("c", 1, [Some(8.0), None]), row("d", 1, [None, Some(8.0)])], 1), None);
        let alone = Row { auto: None, ..row("a", 1, [Some(1.0), Some(4.0)]) };
        assert_eq!(Summary::of(&[alone], 1), None);
    }
}
