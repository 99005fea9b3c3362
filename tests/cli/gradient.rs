//! `convgrad gradient`: arrays in every type, order, layout and rank, and what is refused.

use crate::npy::{channels_last, fortran_order, read_npy, write_npy};
use crate::{Folder, assert_refused, assert_success, backends};
use std::fs;

/// The worked example: a 5x5 input, a 4x4 delta, and the gradient to six decimals.
const SHAPE: &str = "mb1ic1ih5oc1oh4kh2";
#[rustfmt::skip]
const INPUT: [f64; 25] = [
    0.51, 0.90, 0.88, 0.84, 0.05,
    0.40, 0.62, 0.22, 0.59, 0.10,
    0.11, 0.20, 0.74, 0.33, 0.14,
    0.47, 0.01, 0.85, 0.70, 0.09,
    0.76, 0.19, 0.72, 0.17, 0.57,
];
#[rustfmt::skip]
const DELTA: [f64; 16] = [
    0.0, 0.0,    0.0686,  0.0,
    0.0, 0.0364, 0.0,     0.0,
    0.0, 0.0467, 0.0,     0.0,
    0.0, 0.0,    0.0,    -0.0681,
];
const GRADIENT: [f64; 4] = [0.044606, 0.094061, 0.011262, 0.068288];

const GRADIENT_ARGUMENTS: &str = "--input X.npy --delta D.npy -o DW.npy";

/// The worked example as X.npy and D.npy.
fn folder_with_example() -> Folder {
    let folder = Folder::new();
    write_npy(&folder.path("X.npy"), "<f4", false, &[1, 1, 5, 5], &INPUT);
    write_npy(&folder.path("D.npy"), "<f4", false, &[1, 1, 4, 4], &DELTA);
    folder
}

#[test]
fn the_worked_example_in_every_type_order_and_layout() {
    for (descr, written) in [("<f4", "<f4"), ("<f8", "<f8"), (">f4", "<f4")] {
        for fortran in [false, true] {
            for layout in ["nchw", "nhwc"] {
                let folder = Folder::new();
                for (name, side, numbers) in [("X.npy", 5, &INPUT[..]), ("D.npy", 4, &DELTA[..])] {
                    // With one channel, both layouts have the same numbers in C order.
                    let dims = if layout == "nchw" { [1, 1, side, side] } else { [1, side, side, 1] };
                    let numbers = if fortran { fortran_order(&dims, numbers) } else { numbers.to_vec() };
                    write_npy(&folder.path(name), descr, fortran, &dims, &numbers);
                }
                let arguments =
                    format!("gradient {SHAPE} {GRADIENT_ARGUMENTS} --bias-gradient DB.npy --layout {layout}");
                assert_success(&folder.convgrad(&arguments));
                let (header, gradient) = read_npy(&folder.path("DW.npy"));
                assert!(header.contains(written) && header.contains("(1, 1, 2, 2, )"), "{header}");
                assert!(header.contains("'fortran_order': False"), "{header}");
                assert_eq!(gradient.len(), 4);
                // What is expected is known to six decimals.
                for (g, expected) in gradient.iter().zip(GRADIENT) {
                    assert!((g - expected).abs() < 1e-6, "{gradient:?} of {descr}, fortran {fortran}, {layout}");
                }
                let (header, bias) = read_npy(&folder.path("DB.npy"));
                assert!(header.contains(written) && header.contains("(1, )"), "{header}");
                assert!(bias.len() == 1 && (bias[0] - 0.0836).abs() < 1e-6, "{bias:?}");
            }
        }
    }
}

/// Every axis has its own length and integers differ everywhere, so that no swap of axes goes unnoticed.
#[test]
fn axes_are_told_apart_in_every_rank() {
    let cases: [(&str, &[usize], &[usize], usize); 3] = [
        ("mb2ic3iw7oc4kw2", &[2, 3, 7], &[2, 4, 6], 24),
        ("mb2g2ic4ih5iw6oc6kh2kw3", &[2, 4, 5, 6], &[2, 6, 4, 4], 72),
        ("mb2ic3id3ih4iw5oc2kd1kh2kw3", &[2, 3, 3, 4, 5], &[2, 2, 3, 3, 3], 36),
    ];
    for (shape, input_dims, delta_dims, weights) in cases {
        let folder = Folder::new();
        let mut results = Vec::new();
        for (layout, fortran) in [("nchw", false), ("nchw", true), ("nhwc", false), ("nhwc", true)] {
            for (name, dims) in [("X.npy", input_dims), ("D.npy", delta_dims)] {
                let len: usize = dims.iter().product();
                let numbers: Vec<f64> = (0..len).map(|i| (i * 7 % 11) as f64 - 5.0).collect();
                let (dims, numbers) =
                    if layout == "nchw" { (dims.to_vec(), numbers) } else { channels_last(dims, &numbers) };
                let numbers = if fortran { fortran_order(&dims, &numbers) } else { numbers };
                write_npy(&folder.path(name), "<f8", fortran, &dims, &numbers);
            }
            let arguments = format!("gradient {shape} {GRADIENT_ARGUMENTS} --backend naive --layout {layout}");
            assert_success(&folder.convgrad(&arguments));
            results.push(read_npy(&folder.path("DW.npy")).1);
        }
        assert_eq!(results[0].len(), weights);
        assert!(results[0].iter().any(|&g| g != results[0][0]));
        for result in &results {
            assert_eq!(result, &results[0], "{shape}");
        }
    }
}

#[test]
fn gradient_refuses_bad_input_and_leaves_no_file() {
    let folder = folder_with_example();
    write_npy(&folder.path("I.npy"), "<i8", false, &[1, 1, 5, 5], &INPUT);
    write_npy(&folder.path("X64.npy"), "<f8", false, &[1, 1, 5, 5], &INPUT);
    write_npy(&folder.path("L.npy"), "<f4", false, &[1, 5, 5, 1], &INPUT);
    write_npy(&folder.path("S.npy"), "<f4", false, &[1, 1, 5, 5], &INPUT[..24]);
    write_npy(&folder.path("Z.npy"), "<f4", false, &[], &[1.0]);
    write_npy(&folder.path("H.npy"), "<f4", false, &[1 << 40, 1 << 20], &[]);
    fs::write(folder.path("T.npy"), "not an array").unwrap();
    fs::write(folder.path("B.npy"), b"\x93NUMPY\x01\x00\x07\x00garbage").unwrap();
    fs::create_dir(folder.path("sub")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", folder.path("link")).unwrap();
    let before = folder.files();

    let refused = |arguments: &str, words: &[&str]| {
        assert_refused(&folder.convgrad(&format!("gradient {arguments}")), words);
        assert_eq!(folder.files(), before, "{arguments}");
    };
    let (x, d, o) = ("--input X.npy", "--delta D.npy", "-o DW.npy");
    refused(
        &format!("{SHAPE} --input no.npy {d} {o}"),
        &["--input no.npy", "No such file", "name a readable .npy file"],
    );
    refused(&format!("{SHAPE} --input sub {d} {o}"), &["--input sub", "not a .npy file"]);
    refused(&format!("{SHAPE} --input T.npy {d} {o}"), &["--input T.npy", "numpy.save"]);
    refused(&format!("{SHAPE} --input B.npy {d} {o}"), &["--input B.npy", "syntax error", "numpy.save"]);
    refused(&format!("{SHAPE} --input I.npy {d} {o}"), &["--input I.npy", "<i8", ".astype('float32')"]);
    refused(&format!("{SHAPE} --input X64.npy {d} {o}"), &["--delta D.npy", "float32", "--input X64.npy", "float64"]);
    refused(&format!("{SHAPE} --input L.npy {d} {o}"), &["--input L.npy", "[1, 5, 5, 1]", "say --layout nhwc"]);
    refused(&format!("{SHAPE} {x} --delta X.npy {o}"), &["--delta X.npy", "expected [1, 1, 4, 4]", "reshape"]);
    refused(&format!("{SHAPE} --input S.npy {d} {o}"), &["--input S.npy", "last element"]);
    refused(&format!("{SHAPE} --input Z.npy {d} {o}"), &["--input Z.npy", "dimensions []"]);
    refused(&format!("{SHAPE} --input H.npy {d} {o}"), &["--input H.npy", "dimensions"]);
    refused(&format!("{SHAPE} {x} {d} {o} --layout nhwc"), &["--input X.npy", "say --layout nchw"]);
    refused(&format!("{SHAPE} {x} {d} {o} --layout nwhc"), &["--layout", "nwhc", "nchw, nhwc"]);
    refused(&format!("{SHAPE} {x} {d} {o} --backend fast"), &["--backend", "fast", &backends().join(", ")]);
    refused(&format!("{SHAPE} {x} {d} {o} --threads many"), &["--threads", "many"]);
    refused(&format!("ic1ih5 {x} {d} {o}"), &["SHAPE", "`kh` is missing", "write it like"]);
    refused(&format!("mb1g2ic1ih5oc1kh2 {x} {d} {o}"), &["SHAPE", "2 groups"]);
    refused(&format!("{SHAPE} {x} {d} -o no/DW.npy"), &["--output no/DW.npy", "existing folder"]);
    refused(&format!("{SHAPE} {x} {d} -o sub"), &["--output sub", "not a regular file"]);
    refused(&format!("{SHAPE} {x} {d} -o new/"), &["--output new/", "not the name of a file"]);
    #[cfg(unix)]
    refused(&format!("{SHAPE} {x} {d} -o link"), &["--output link", "leads to no file"]);
    refused(&format!("{SHAPE} {x} {d} -o X.npy"), &["--output", "--input", "name another file"]);
    refused(&format!("{SHAPE} {x} {d} {o} --bias-gradient D.npy"), &["--bias-gradient", "--delta"]);
    refused(&format!("{SHAPE} {x} {d} {o} --bias-gradient ./DW.npy"), &["--bias-gradient", "--output"]);
    refused(
        &format!("{SHAPE} {x} {d} {o} --bias-gradient no/DB.npy"),
        &["--bias-gradient no/DB.npy", "existing folder"],
    );
    refused(&format!("{SHAPE} {x} {d}"), &["--output"]);
}

#[test]
fn a_failed_run_keeps_an_older_result() {
    let folder = folder_with_example();
    fs::write(folder.path("DW.npy"), "older").unwrap();
    write_npy(&folder.path("S.npy"), "<f4", false, &[1, 1, 5, 5], &INPUT[..24]);
    let output = folder.convgrad(&format!("gradient {SHAPE} --input S.npy --delta D.npy -o DW.npy"));
    assert_refused(&output, &["--input S.npy"]);
    assert_eq!(fs::read_to_string(folder.path("DW.npy")).unwrap(), "older");
    assert_success(&folder.convgrad(&format!("gradient {SHAPE} {GRADIENT_ARGUMENTS}")));
    assert_eq!(read_npy(&folder.path("DW.npy")).1.len(), 4);
}
