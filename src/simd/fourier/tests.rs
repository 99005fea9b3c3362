//! Transforms against the definition, and the error bound the backend `fft` argues with.

use super::*;
use crate::simd::Isa;

/// All lengths a plan may take, and short ones.
fn lengths() -> impl Iterator<Item = usize> {
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30]
        .into_iter()
        .chain((16..=512).step_by(16))
        .filter(|&length| is_smooth(length))
}

fn is_smooth(mut length: usize) -> bool {
    for prime in [2, 3, 5] {
        while length.is_multiple_of(prime) {
            length /= prime;
        }
    }
    length == 1
}

fn registers() -> [Registers; 2] {
    [Registers { lanes: 16, count: 32 }, Registers { lanes: 8, count: 16 }]
}

#[test]
fn roots_are_those_of_the_unit_circle() {
    for n in lengths() {
        for k in 0..2 * n {
            let (re, im) = root(k, n);
            let angle = -2.0 * std::f64::consts::PI * k as f64 / n as f64;
            assert!((re - angle.cos()).abs() < 5e-15 && (im - angle.sin()).abs() < 5e-15, "{k} of {n}");
        }
        assert_eq!(root(0, n), (1.0, -0.0));
    }
    assert_eq!((root(1, 4), root(2, 4), root(3, 4)), ((-0.0, -1.0), (-1.0, 0.0), (0.0, 1.0)));
}

#[test]
fn each_frequency_has_a_row_of_its_own() {
    for registers in registers() {
        for n in lengths() {
            let stages = Stages::new(n, registers);
            assert_eq!(stages.radices().product::<usize>(), n);
            let mut rows: Vec<usize> = (0..n).map(|f| stages.row(f)).collect();
            assert!(stages.rows().eq(rows.iter().copied()), "{n}");
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..n), "{n}");
        }
    }
}

#[test]
fn transforms_are_those_of_the_definition_within_the_bound_of_their_passes() {
    for isa in Isa::available() {
        for registers in registers() {
            for n in lengths() {
                transform_is_that_of_the_definition(isa, &Stages::new(n, registers));
            }
        }
    }
}

fn transform_is_that_of_the_definition(isa: Isa, stages: &Stages) {
    let n = stages.length();
    let mut factors = vec![0.0f32; stages.factors_len()];
    stages.write_factors(&mut factors, |value| value as f32);
    let number = |row: usize, i: usize| ((row * 37 + i * 11) % 101) as f32 / 3.0 - 17.0;
    let mut rows: Vec<Row<f32>> = (0..n).map(|row| std::array::from_fn(|i| number(row, i))).collect();
    isa.run(Transform { stages, factors: &factors, rows: &mut rows });
    let unit = f64::from(f32::EPSILON) / 2.0;
    for column in [0, 7, WIDTH - 1] {
        let points: Vec<[f64; 2]> =
            (0..n).map(|row| [column, WIDTH + column].map(|i| f64::from(number(row, i)))).collect();
        let moduli = points.iter().map(|[re, im]| re.hypot(*im));
        let (sum, norm) = (moduli.clone().sum::<f64>(), moduli.map(|modulus| modulus * modulus).sum::<f64>().sqrt());
        let mut errors = 0.0;
        for frequency in 0..n {
            let (mut re, mut im) = (0.0, 0.0);
            for (row, [a, b]) in points.iter().enumerate() {
                let (c, s) = root(row * frequency, n);
                re += a * c - b * s;
                im += a * s + b * c;
            }
            let given = &rows[stages.row(frequency)];
            let error = (f64::from(given[column]) - re).hypot(f64::from(given[WIDTH + column]) - im);
            let allowed = stages.error() * unit * sum;
            assert!(error <= allowed, "{isa}: frequency {frequency} of {n}: {error:e}, allowed {allowed:e}");
            errors += error * error;
        }
        let allowed = stages.norm_error() * unit * norm * (n as f64).sqrt();
        assert!(errors.sqrt() <= allowed, "{isa}: {n} points: {:e}, allowed {allowed:e}", errors.sqrt());
    }
}

#[test]
fn products_of_spectra_are_added_row_by_row() {
    for isa in Isa::available() {
        let rows = |seed: usize| -> Vec<Row<f32>> {
            (0..3).map(|row| std::array::from_fn(|i| ((seed * 7 + row * 5 + i * 3) % 13) as f32 - 6.0)).collect()
        };
        let (delta, input) = ([rows(1), rows(2)], [rows(3), rows(4)]);
        let mut sums: Vec<Vec<Row<f32>>> = (5..9).map(rows).collect();
        let before = sums.clone();
        let [a, b, c, d] = &mut sums[..] else { unreachable!("four blocks") };
        isa.run(MultiplyAdd { delta: [&delta[0], &delta[1]], input: [&input[0], &input[1]], sums: [[a, b], [c, d]] });
        for (i, j, row, x) in (0..4).flat_map(|ij| (0..3 * WIDTH).map(move |p| (ij / 2, ij % 2, p / WIDTH, p % WIDTH)))
        {
            let [a, b] = [delta[i][row][x], delta[i][row][WIDTH + x]];
            let [c, d] = [input[j][row][x], input[j][row][WIDTH + x]];
            let (was, is) = (&before[2 * i + j][row], &sums[2 * i + j][row]);
            assert_eq!((is[x], is[WIDTH + x]), (was[x] + a * c + b * d, was[WIDTH + x] + b * c - a * d), "{isa}");
        }
    }
}

#[test]
fn squares_are_turned() {
    for isa in Isa::available() {
        let rows: Vec<Row<f32>> = (0..2 * WIDTH).map(|row| std::array::from_fn(|i| (100 * row + i) as f32)).collect();
        let mut out = vec![[f32::NAN; 2 * WIDTH]; 2 * WIDTH];
        isa.run(Turn { row: |i| &rows[i], out: &mut out });
        for (row, i) in (0..2 * WIDTH).flat_map(|row| (0..2 * WIDTH).map(move |i| (row, i))) {
            let expected = rows[row / WIDTH * WIDTH + i % WIDTH][i / WIDTH * WIDTH + row % WIDTH];
            assert_eq!(out[row][i], expected, "{isa}: {row}, {i}");
        }
    }
}
