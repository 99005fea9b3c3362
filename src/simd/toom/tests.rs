//! The maps against their derivation: from the points, in exact fractions.

use super::forward::{OutputOfFour, OutputOfTwo, WeightsOfFour, WeightsOfTwo};
use super::*;

/// A fraction in lowest terms, its denominator positive.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fraction(i128, i128);

impl Fraction {
    const ZERO: Fraction = Fraction(0, 1);
    const ONE: Fraction = Fraction(1, 1);

    fn new(numerator: i128, denominator: i128) -> Fraction {
        let (mut a, mut b) = (numerator.abs(), denominator.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = a * denominator.signum();
        Fraction(numerator / divisor, denominator / divisor)
    }

    fn add(self, other: Fraction) -> Fraction {
        Fraction::new(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }

    fn mul(self, other: Fraction) -> Fraction {
        Fraction::new(self.0 * other.0, self.1 * other.1)
    }

    fn minus(self) -> Fraction {
        Fraction(-self.0, self.1)
    }

    fn inverse(self) -> Fraction {
        Fraction::new(self.1, self.0)
    }

    fn power(self, exponent: usize) -> Fraction {
        (0..exponent).fold(Fraction::ONE, |power, _| power.mul(self))
    }

    fn to_f64(self) -> f64 {
        self.0 as f64 / self.1 as f64
    }
}

type Matrix = Vec<Vec<Fraction>>;

/// `B^T`, `G` and `A^T` of these points and infinity, for tiles of `outputs` and three taps.
fn derive(points: &[Fraction], outputs: usize) -> [Matrix; 3] {
    let count = points.len() + 1;
    // Coefficients of the product of (x - p) over some points.
    let product = |points: &mut dyn Iterator<Item = Fraction>| {
        let mut coefficients = vec![Fraction::ONE];
        for point in points {
            let mut longer = vec![Fraction::ZERO; coefficients.len() + 1];
            for (power, coefficient) in coefficients.into_iter().enumerate() {
                longer[power + 1] = longer[power + 1].add(coefficient);
                longer[power] = longer[power].add(coefficient.mul(point.minus()));
            }
            coefficients = longer;
        }
        coefficients.resize(count, Fraction::ZERO);
        coefficients
    };
    let others = |point: Fraction| points.iter().copied().filter(move |&other| other != point);
    let mut input: Matrix = points.iter().map(|&point| product(&mut others(point))).collect();
    input.push(product(&mut points.iter().copied()));
    let values = |columns: usize| -> Matrix {
        let mut rows: Matrix =
            points.iter().map(|point| (0..columns).map(|power| point.power(power)).collect()).collect();
        let mut at_infinity = vec![Fraction::ZERO; columns];
        at_infinity[columns - 1] = Fraction::ONE;
        rows.push(at_infinity);
        rows
    };
    let mut gradient: Matrix = vec![vec![Fraction::ZERO; count]; 3];
    for (i, row) in values(3).into_iter().enumerate() {
        let factor = points.get(i).map_or(Fraction::ONE, |&point| {
            others(point).fold(Fraction::ONE, |factor, other| factor.mul(point.add(other.minus()))).inverse()
        });
        for (k, value) in row.into_iter().enumerate() {
            gradient[k][i] = value.mul(factor);
        }
    }
    [input, values(outputs), gradient]
}

fn derived() -> [(usize, [Matrix; 3]); 2] {
    let [near, far] = [Fraction::new(5, 8), Fraction::new(3, 2)];
    assert_eq!((near.to_f64(), far.to_f64()), (NEAR, FAR));
    let four = [Fraction::ZERO, near, near.minus(), far, far.minus()];
    let two = [Fraction::ZERO, Fraction::ONE, Fraction::ONE.minus()];
    [(4, derive(&four, 4)), (2, derive(&two, 2))]
}

#[test]
fn the_derived_matrices_correlate_exactly() {
    for (outputs, [input, delta, gradient]) in derived() {
        for (j, l) in (0..outputs).flat_map(|j| (0..outputs + 2).map(move |l| (j, l))) {
            // Of delta number j alone is 1, of the input number l: tap l - j sees both.
            for (tap, row) in gradient.iter().enumerate() {
                let terms = row.iter().zip(&delta).zip(&input).map(|((a, g), b)| a.mul(g[j]).mul(b[l]));
                let sum = terms.fold(Fraction::ZERO, Fraction::add);
                let expected = if j + tap == l { Fraction::ONE } else { Fraction::ZERO };
                assert_eq!(sum, expected, "{outputs} outputs: tap {tap}, delta {j}, input {l}");
            }
        }
    }
}

/// The matrix a map computes with.
fn matrix_of<L: Linear<I, O>, const I: usize, const O: usize>() -> Vec<Vec<f64>> {
    let columns: Vec<[f64; O]> = (0..I)
        .map(|column| {
            let mut unit = [0.0; I];
            unit[column] = 1.0;
            L::apply::<f64, pulp::Scalar>(pulp::Scalar, &L::COEFFICIENTS, unit)
        })
        .collect();
    (0..O).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

fn transposed(matrix: &Matrix) -> Matrix {
    (0..matrix[0].len()).map(|column| matrix.iter().map(|row| row[column]).collect()).collect()
}

/// How far the numbers of a map may be from those it stands for, in roundoffs of their own.
const EXACT: f64 = 0.0;
const ROUNDED: f64 = 8.0;

fn expect_matrix<L: Linear<I, O>, const I: usize, const O: usize>(name: &str, derived: &Matrix, roundoffs: f64) {
    let computed = matrix_of::<L, I, O>();
    assert_eq!(derived.len(), computed.len(), "{name}");
    for (derived, computed) in derived.iter().zip(&computed) {
        assert_eq!(derived.len(), computed.len(), "{name}");
        for (derived, computed) in derived.iter().zip(computed) {
            let error = (derived.to_f64() - computed).abs();
            let allowed = roundoffs * f64::EPSILON / 2.0 * computed.abs();
            assert!(error <= allowed, "{name}: {derived:?} is computed as {computed}");
        }
    }
}

#[test]
fn the_maps_are_the_derived_matrices() {
    let [(_, [input, delta, gradient]), (_, [input_of_two, delta_of_two, gradient_of_two])] = derived();
    // Coefficients of the map that is applied least often are products rounded a few times.
    expect_matrix::<InputOfFour, 6, 6>("input of four", &input, EXACT);
    expect_matrix::<DeltaOfFour, 4, 6>("delta of four", &delta, EXACT);
    expect_matrix::<GradientOfFour, 6, 3>("gradient of four", &gradient, ROUNDED);
    expect_matrix::<InputOfTwo, 4, 4>("input of two", &input_of_two, EXACT);
    expect_matrix::<DeltaOfTwo, 2, 4>("delta of two", &delta_of_two, EXACT);
    expect_matrix::<GradientOfTwo, 4, 3>("gradient of two", &gradient_of_two, EXACT);
    // In the forward pass the result of the one sum is the kernel of the other.
    expect_matrix::<WeightsOfFour, 3, 6>("weights of four", &transposed(&gradient), ROUNDED);
    expect_matrix::<OutputOfFour, 6, 4>("output of four", &transposed(&delta), EXACT);
    expect_matrix::<WeightsOfTwo, 3, 4>("weights of two", &transposed(&gradient_of_two), EXACT);
    expect_matrix::<OutputOfTwo, 4, 2>("output of two", &transposed(&delta_of_two), EXACT);
}

#[test]
fn numbers_of_the_maps_applied_to_tiles_are_exact_in_f32() {
    let numbers =
        InputOfFour::COEFFICIENTS.into_iter().chain(DeltaOfFour::COEFFICIENTS).chain(OutputOfFour::COEFFICIENTS);
    for number in numbers {
        assert_eq!(f64::from(number as f32), number);
    }
}

/// The largest 2-norm of `|G|^T diag(|A^T| row k) |B^T|`, by power iteration, which tends to it from below; `g` and `b` are given
/// by rows of points, `a` by rows of results.
fn amplification(a: &Matrix, g: &Matrix, b: &Matrix) -> f64 {
    let mut largest = 0.0f64;
    for row in a {
        let weight = |j: usize, l: usize| {
            let terms = row.iter().zip(g).zip(b).map(|((a, g), b)| a.mul(g[j]).mul(b[l]).to_f64().abs());
            terms.sum::<f64>()
        };
        let (taps, inputs) = (g[0].len(), b[0].len());
        let mut vector = vec![1.0; inputs];
        let mut norm = 0.0;
        for _ in 0..100 {
            let image: Vec<f64> =
                (0..taps).map(|j| vector.iter().enumerate().map(|(l, x)| weight(j, l) * x).sum()).collect();
            vector = (0..inputs).map(|l| image.iter().enumerate().map(|(j, y)| weight(j, l) * y).sum()).collect();
            norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        // Of the matrix times its transpose.
        largest = largest.max(norm.sqrt());
    }
    largest
}

#[test]
fn the_amplifications_are_the_norms_of_the_maps() {
    let declared =
        [[Four::AMPLIFICATION, Four::FORWARD_AMPLIFICATION], [Two::AMPLIFICATION, Two::FORWARD_AMPLIFICATION]];
    for ((outputs, [input, delta, gradient]), declared) in derived().into_iter().zip(declared) {
        let of_gradient = amplification(&gradient, &delta, &input);
        let of_forward = amplification(&transposed(&delta), &transposed(&gradient), &input);
        for (largest, declared) in [of_gradient, of_forward].into_iter().zip(declared) {
            assert!(largest <= declared && declared <= 1.002 * largest, "{outputs} outputs: {largest} for {declared}");
        }
    }
}
