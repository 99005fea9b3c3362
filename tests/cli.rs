//! The command line as a user meets it: files in, files out, lines and exit codes.
//!
//! Arrays are written here byte by byte, after NumPy's description of the format, so that a fault in the crate the
//! program reads them with cannot hide itself. Needs `--features cli`.

#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

/// A folder that vanishes with the test, and the program run in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program; arguments are separated by blanks.
    fn convgrad(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_convgrad"));
        command.current_dir(self.0.path()).args(arguments.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// The worked example as X.npy and D.npy.
    fn with_example() -> Folder {
        let folder = Folder::new();
        write_npy(&folder.path("X.npy"), "<f4", false, &[1, 1, 5, 5], &INPUT);
        write_npy(&folder.path("D.npy"), "<f4", false, &[1, 1, 4, 4], &DELTA);
        folder
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

const GRADIENT_ARGUMENTS: &str = "--input X.npy --delta D.npy -o DW.npy";

/// Writes a .npy file of version 1: magic, version, header length, a Python dictionary, the numbers.
fn write_npy(path: &Path, descr: &str, fortran: bool, dims: &[usize], numbers: &[f64]) {
    let order = if fortran { "True" } else { "False" };
    let shape: String = dims.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for &number in numbers {
        match descr {
            "<f4" => bytes.extend((number as f32).to_le_bytes()),
            ">f4" => bytes.extend((number as f32).to_be_bytes()),
            "<f8" => bytes.extend(number.to_le_bytes()),
            "<i8" => bytes.extend((number as i64).to_le_bytes()),
            other => panic!("no rule to write {other}"),
        }
    }
    fs::write(path, bytes).unwrap();
}

/// Reads what the program wrote: its header up to the padding, and its numbers.
fn read_npy(path: &Path) -> (String, Vec<f64>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    let numbers = match header.contains("'<f4'") {
        true => bytes[end..].chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        false => bytes[end..].chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
    };
    (header, numbers)
}

/// Numbers in C order, rearranged as Fortran order has them.
fn fortran_order(dims: &[usize], numbers: &[f64]) -> Vec<f64> {
    let mut result = vec![f64::NAN; numbers.len()];
    for (i, &number) in numbers.iter().enumerate() {
        let (mut rest, mut to, mut reach) = (i, 0, numbers.len());
        for &dim in dims.iter().rev() {
            reach /= dim;
            to += rest % dim * reach;
            rest /= dim;
        }
        result[to] = number;
    }
    result
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// Exit code 2 and one line on stderr that holds all of `words`, nothing on stdout.
fn assert_refused(output: &Output, words: &[&str]) {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("convgrad: "), "{line}");
    for word in words {
        assert!(line.contains(word), "no `{word}` in {line}");
    }
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

/// The array with axis 1 moved to the end, in C order.
fn channels_last(dims: &[usize], numbers: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let (batch, channels) = (dims[0], dims[1]);
    let positions = numbers.len() / batch / channels;
    let mut moved = Vec::new();
    for n in 0..batch {
        for p in 0..positions {
            moved.extend((0..channels).map(|c| numbers[(n * channels + c) * positions + p]));
        }
    }
    let mut moved_dims = dims.to_vec();
    moved_dims[1..].rotate_left(1);
    (moved_dims, moved)
}

#[test]
fn gradient_refuses_bad_input_and_leaves_no_file() {
    let folder = Folder::with_example();
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
    refused(&format!("{SHAPE} {x} {d} {o} --backend fast"), &["--backend", "fast", "direct, im2col, naive"]);
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
    let folder = Folder::with_example();
    fs::write(folder.path("DW.npy"), "older").unwrap();
    write_npy(&folder.path("S.npy"), "<f4", false, &[1, 1, 5, 5], &INPUT[..24]);
    let output = folder.convgrad(&format!("gradient {SHAPE} --input S.npy --delta D.npy -o DW.npy"));
    assert_refused(&output, &["--input S.npy"]);
    assert_eq!(fs::read_to_string(folder.path("DW.npy")).unwrap(), "older");
    assert_success(&folder.convgrad(&format!("gradient {SHAPE} {GRADIENT_ARGUMENTS}")));
    assert_eq!(read_npy(&folder.path("DW.npy")).1.len(), 4);
}

#[test]
fn verify_accepts_all_backends() {
    let folder = Folder::new();
    for arguments in ["", "--layout nhwc --dtype f64", "--backend im2col,direct --isa scalar"] {
        let output = folder.convgrad(&format!("verify mb2g2ic4ih6oc6kh3ph1 mb1ic3iw9oc2kw2sw2 {arguments}"));
        assert_success(&output);
        let text = String::from_utf8(output.stdout).unwrap();
        let backends = if arguments.contains("im2col") { 2 } else { 3 };
        assert_eq!(text.lines().count(), 1 + 2 * backends + 1, "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("  ok  ")).count(), 2 * backends, "{text}");
        assert!(text.ends_with(&format!("{} passed, none failed, 0 unsupported\n", 2 * backends)), "{text}");
    }
}

#[test]
fn bench_prints_exactly_the_columns() {
    let folder = Folder::new();
    fs::write(folder.path("shapes"), "# a list\n  mb1ic1ih5oc1oh4kh2n\"seed\"   # small\n\nmb1_ic2ih6oc2kh3\n")
        .unwrap();
    let output = folder.convgrad("bench mb1ic1iw9oc1kw2n\"a,b\" -f shapes --csv --min-time 0.002 --threads 1");
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("backend,pass,layout,shape,threads,best_ms,median_ms,gflops"));
    for shape in ["\"mb1ic1iw9oc1kw2n\"\"a,b\"\"\"", "mb1ic1ih5oc1oh4kh2n\"seed\"", "mb1_ic2ih6oc2kh3"] {
        for backend in ["direct", "im2col", "naive"] {
            let line = lines.next().unwrap();
            let numbers = line.strip_prefix(&format!("{backend},wgrad,nchw,{shape},1,")).expect(line);
            let decimals: Vec<usize> = numbers.split(',').map(|n| n.split('.').nth(1).unwrap().len()).collect();
            assert_eq!(decimals, [4, 4, 1], "{line}");
            let numbers: Vec<f64> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
            assert!(numbers[0] <= numbers[1], "{line}");
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn bench_marks_one_winner_a_shape() {
    let output =
        Folder::new().convgrad("bench mb1ic1ih5oc1kh2 mb1ic2ih6oc2kh3 --min-time 0.002 --layout nhwc --dtype f64");
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("FMA peak of "), "{text}");
    assert_eq!(text.matches("* ").count(), 2, "{text}");
    assert!(output.stderr.is_empty(), "a progress bar belongs to a terminal");
}

#[test]
fn lists_and_numbers_are_checked() {
    let folder = Folder::new();
    fs::write(folder.path("empty"), "# nothing\n--mb=2\n").unwrap();
    fs::write(folder.path("wrong"), "ic1ih5oc1kh2\nic1ih5oc1kh9\n").unwrap();
    fs::write(folder.path("binary"), [0xff, 0xfe]).unwrap();
    for command in ["verify", "bench"] {
        let refused = |arguments: &str, words: &[&str]| {
            assert_refused(&folder.convgrad(&format!("{command} {arguments}")), words);
        };
        refused("", &["SHAPE"]);
        refused("-f empty", &["--file empty", "there is no shape in it"]);
        refused("-f no", &["--file no", "No such file"]);
        refused("-f binary", &["--file binary", "UTF-8"]);
        refused("-f wrong", &["--file wrong, line 2", "kernel spans 9"]);
        refused("ic1ih5oc1kh2 ic0ih5oc1kh2", &["SHAPE", "ic0ih5oc1kh2", "is 0"]);
        refused("ic1ih5oc1kh2 --backend direct,quick", &["--backend", "quick", "direct, im2col, naive"]);
        refused("ic1ih5oc1kh2 --isa mmx", &["--isa", "mmx", "scalar"]);
        refused("ic1ih5oc1kh2 --dtype f16", &["--dtype", "f16", "f32, f64"]);
        refused("mb100000ic1000ih10000oc1kh2", &["SHAPE mb100000", "GiB"]);
        refused("mb99999999999ic99999999999ih9oc1kh2", &["SHAPE", "address space"]);
    }
    for time in ["nan", "-1", "0", "inf", "soon"] {
        assert_refused(&folder.convgrad(&format!("bench ic1ih5oc1kh2 --min-time {time}")), &["--min-time", time]);
    }
    for threads in ["-1", "1.5", "1025", "99999999999999999999"] {
        let words = ["--threads", threads, "from 0", "to 1024"];
        assert_refused(&folder.convgrad(&format!("bench ic1ih5oc1kh2 --threads {threads}")), &words);
    }
    assert_refused(&folder.convgrad("gradiant"), &["gradiant", "gradient"]);
    assert_refused(&folder.convgrad("bench ic1ih5oc1kh2 --fast"), &["--fast"]);
}

#[test]
fn backends_are_described() {
    let output = Folder::new().convgrad("backends");
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(convgrad::Isa::best().name()), "{text}");
    for backend in convgrad::backends::<f32>() {
        assert!(text.contains(&format!("{}: {}", backend.name(), backend.description())), "{text}");
    }
    assert_eq!(text.matches("weight gradient  yes").count(), 3, "{text}");
}

#[test]
fn help_is_no_failure() {
    for arguments in ["--help", "help", "--version", "gradient --help", "verify -h", "bench --help", "demo --help"] {
        let output = Folder::new().convgrad(arguments);
        assert_success(&output);
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let folder = Folder::new();
    for arguments in ["backends", "bench ic1ih5oc1kh2 --csv --min-time 0.001", "verify ic1ih5oc1kh2", "--help"] {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    }
}
