//! Calls that cannot be answered: each gets the typed error that names what is wrong, and the output stays as it was.

mod reference;

use convgrad::{ConvShape, Error, Layout, Update, View, ViewMut};
use reference::{Arrangement, Layer, OPS, Operand, every_backend, result_dims};

#[test]
fn scratch_one_element_short_is_refused_and_nothing_written() {
    let mut some_backend_needs_scratch = false;
    for text in ["mb2ic20ih8oc20oh8kh3ph1", "mb1ic2ih30oc3oh30kh5ph2"] {
        let shape: ConvShape = text.parse().unwrap();
        let layer = Layer::<f64>::contiguous(shape, || 1.0);
        // The chooser goes to a backend that needs less.
        for backend in every_backend::<f64>().into_iter().filter(|backend| backend.name() != "auto") {
            for op in OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
                let Some(short) = backend.scratch_len(op, &shape).checked_sub(1) else { continue };
                some_backend_needs_scratch = true;
                let mut result = Operand::<f64>::result(&result_dims(&shape, op), &Arrangement::NCHW, || 3.0);
                let problem = layer.problem(op, &mut result, Update::overwrite());
                let refused = backend.execute(problem, &mut vec![0.0; short]);
                assert_eq!(refused, Err(Error::ScratchTooShort { given: short, needed: short + 1 }));
                let problem = layer.problem(op, &mut result, Update::overwrite());
                let refused = backend.execute_within(problem, 8 * short);
                let expected =
                    Error::ScratchLimit { backend: backend.name(), needed: 8 * (short + 1), limit: 8 * short };
                assert_eq!(refused, Err(expected));
                assert!(result.values().iter().all(|&x| x == 3.0), "{} wrote in spite of its refusal", backend.name());
            }
        }
    }
    assert!(some_backend_needs_scratch, "no backend needs scratch, so nothing was tested");
}

#[test]
fn operands_of_other_dimensions_are_refused_and_nothing_written() {
    let shape: ConvShape = "mb2ic3ih5iw6oc4kh3kw2".parse().unwrap();
    assert_eq!(shape.output_dims(), [2, 4, 3, 5]);
    let (input, delta, mut gradient) = (vec![1.0f32; 180], vec![1.0f32; 120], vec![9.0f32; 72]);
    for backend in every_backend::<f32>() {
        let mut refused = |input_dims: &[usize], delta_dims: &[usize], gradient_dims: &[usize]| {
            let result = backend.weight_gradient(
                &shape,
                View::nchw(&input, input_dims).unwrap(),
                View::nchw(&delta, delta_dims).unwrap(),
                ViewMut::nchw(&mut gradient, gradient_dims).unwrap(),
                Update::overwrite(),
            );
            assert!(gradient.iter().all(|&x| x == 9.0), "{} wrote in spite of its refusal", backend.name());
            match result {
                Err(Error::Dims { argument, .. }) => argument,
                other => panic!("{other:?} from {}", backend.name()),
            }
        };
        // The right number of elements every time; only the dimensions are wrong.
        assert_eq!(refused(&[2, 3, 6, 5], &[2, 4, 3, 5], &[4, 3, 3, 2]), "input");
        assert_eq!(refused(&[3, 2, 5, 6], &[2, 4, 3, 5], &[4, 3, 3, 2]), "input");
        assert_eq!(refused(&[2, 3, 30], &[2, 4, 3, 5], &[4, 3, 3, 2]), "input");
        assert_eq!(refused(&[2, 3, 1, 5, 6], &[2, 4, 3, 5], &[4, 3, 3, 2]), "input");
        assert_eq!(refused(&[2, 3, 5, 6], &[2, 4, 5, 3], &[4, 3, 3, 2]), "delta");
        assert_eq!(refused(&[2, 3, 5, 6], &[2, 4, 3, 5], &[3, 4, 3, 2]), "gradient");
        assert_eq!(refused(&[2, 3, 5, 6], &[2, 4, 3, 5], &[72]), "gradient");

        let view = View::nchw(&delta, &[2, 4, 3, 5]).unwrap();
        let five = ViewMut::nchw(&mut gradient[..5], &[5]).unwrap();
        let error = backend.bias_gradient(&shape, view, five, Update::overwrite()).unwrap_err();
        assert_eq!(error, Error::Dims { argument: "gradient", given: vec![5], expected: vec![4] });
        assert!(gradient.iter().all(|&x| x == 9.0));
    }
}

#[test]
fn a_forward_pass_with_a_bias_of_another_length_is_refused() {
    let shape: ConvShape = "mb1ic1ih2oc3kh1".parse().unwrap();
    let (input, weights, mut output) = ([1.0f32; 4], [1.0f32; 3], [9.0f32; 12]);
    for backend in every_backend::<f32>() {
        let error = backend.forward(
            &shape,
            View::nchw(&input, &[1, 1, 2, 2]).unwrap(),
            View::nchw(&weights, &[3, 1, 1, 1]).unwrap(),
            Some(&[0.0; 4]),
            ViewMut::nchw(&mut output, &[1, 3, 2, 2]).unwrap(),
        );
        assert_eq!(error, Err(Error::Length { argument: "bias", given: 4, expected: 3 }));
        assert_eq!(output, [9.0; 12]);
    }
}

#[test]
fn views_outside_their_slice_are_refused() {
    let data = [0.0f32; 24];
    let strided = |dims: &[usize], strides: &[isize], origin| View::strided(&data, dims, strides, origin).map(drop);
    assert_eq!(strided(&[1, 2, 3, 4], &[24, 12, 4, 1], 0), Ok(()));
    assert!(matches!(strided(&[1, 2, 3, 4], &[24, 12, 4, 1], 1), Err(Error::ViewBounds { highest: 24, len: 24, .. })));
    assert!(matches!(strided(&[1, 2, 3, 4], &[0, 12, 4, -1], 0), Err(Error::ViewBounds { lowest: -3, .. })));
    assert!(matches!(strided(&[1, 2], &[1, 1, 1], 0), Err(Error::ViewRank { dims: 2, strides: 3 })));
    assert!(matches!(strided(&[1; 6], &[1; 6], 0), Err(Error::ViewRank { dims: 6, .. })));
    assert!(matches!(strided(&[], &[], 0), Err(Error::ViewRank { dims: 0, .. })));
    assert!(matches!(strided(&[1, 0, 3], &[1, 1, 1], 0), Err(Error::ZeroSize { .. })));
    assert!(matches!(strided(&[usize::MAX; 5], &[isize::MAX; 5], 0), Err(Error::ViewBounds { .. })));
    assert!(matches!(strided(&[usize::MAX; 5], &[isize::MIN; 5], 0), Err(Error::ViewBounds { .. })));
    assert!(matches!(strided(&[1], &[isize::MIN], usize::MAX), Err(Error::ViewBounds { .. })));
    assert!(matches!(View::nchw(&data, &[1, 2, 3, 5]), Err(Error::ViewLength { expected: 30, len: 24, .. })));
    assert!(matches!(View::nhwc(&data, &[1, 2, 3, 3]), Err(Error::ViewLength { expected: 18, len: 24, .. })));
    assert!(matches!(View::nchw(&data, &[usize::MAX, 2]), Err(Error::TooLarge { .. })));
    assert!(matches!(View::new(&data[..0], &[0, 3], Layout::Nchw), Err(Error::ZeroSize { .. })));
}

#[test]
fn views_to_be_written_whose_positions_share_elements_are_refused() {
    let mut data = [0.0f64; 100];
    let mut strided =
        |dims: &[usize], strides: &[isize], origin| ViewMut::strided(&mut data, dims, strides, origin).map(drop);
    assert_eq!(strided(&[2, 3, 4], &[12, 4, 1], 0), Ok(()));
    assert_eq!(strided(&[2, 3, 4], &[-12, 4, -1], 20), Ok(()));
    assert_eq!(strided(&[1, 3, 4], &[0, 4, 1], 0), Ok(()), "a dimension of length 1 steps nowhere");
    for strides in [[0, 4, 1], [12, 0, 1], [12, 4, 0], [11, 4, 1], [-11, 4, 1], [12, 3, 1], [4, 4, 1]] {
        let origin = if strides[0] < 0 { 20 } else { 0 };
        assert!(matches!(strided(&[2, 3, 4], &strides, origin), Err(Error::ViewOverlap { .. })), "{strides:?}");
    }
}

#[test]
fn shapes_without_meaning_are_refused() {
    let conv = |batch, ic, oc| ConvShape::conv2d(batch, ic, [4, 4], oc, [3, 3]);
    assert_eq!(conv(0, 1, 1).build(), Err(Error::ZeroSize { field: "batch" }), "no empty batch reaches a backend");
    assert_eq!(conv(1, 0, 1).build(), Err(Error::ZeroSize { field: "in_channels" }));
    assert_eq!(conv(1, 1, 0).build(), Err(Error::ZeroSize { field: "out_channels" }));
    assert_eq!(conv(1, 1, 1).groups(0).build(), Err(Error::ZeroSize { field: "groups" }));
    assert_eq!(conv(1, 1, 1).stride(0).build(), Err(Error::ZeroSize { field: "stride" }));
    assert_eq!(conv(1, 1, 1).dilation([1, 0]).build(), Err(Error::ZeroSize { field: "dilation" }));
    assert_eq!(ConvShape::conv1d(1, 1, 0, 1, 1).padding(2).build(), Err(Error::ZeroSize { field: "input" }));
    assert_eq!(ConvShape::conv1d(1, 1, 1, 1, 0).build(), Err(Error::ZeroSize { field: "kernel" }));
    let uneven = Error::Groups { field: "out_channels", channels: 3, groups: 2 };
    assert_eq!(conv(1, 4, 3).groups(2).build(), Err(uneven));
    let uneven = Error::Groups { field: "in_channels", channels: 3, groups: 2 };
    assert_eq!(conv(1, 3, 4).groups(2).build(), Err(uneven));
    let too_large = Error::KernelTooLarge { axis: "width", extent: 5, padded: 4 };
    assert_eq!(conv(1, 1, 1).dilation([1, 2]).build(), Err(too_large));
}

#[test]
fn shapes_beyond_the_address_space_are_refused() {
    const MAX: usize = usize::MAX;
    let axis = |input, kernel| ConvShape::conv1d(1, 1, input, 1, kernel);
    let absurd = [
        axis(MAX, 1).build(),
        axis(MAX, MAX).build(),
        axis(5, 2).dilation(MAX).build(),
        axis(5, MAX).dilation(2).padding(MAX / 2).build(),
        axis(5, 2).padding(MAX).build(),
        axis(5, 2).padding_begin_end(MAX, 1).build(),
        axis(5, 2).padding(MAX / 4).build(),
        axis(1 << 40, 1 << 39).build(),
        ConvShape::conv1d(MAX, 1, 1, 1, 1).build(),
        ConvShape::conv1d(1, MAX, 1, 1, 1).build(),
        ConvShape::conv1d(1, 1, 1, MAX, 1).build(),
        ConvShape::conv1d(1, 1 << 32, 1, 1 << 32, 1).build(),
        ConvShape::conv3d(1, 1, [1 << 30; 3], 1, [1; 3]).build(),
        ConvShape::conv2d(1, 1, [1; 2], 1, [1; 2]).padding(1 << 40).build(),
    ];
    for (i, shape) in absurd.into_iter().enumerate() {
        match (i, shape) {
            // One long signal and a long kernel can be addressed; their cost must not overflow either.
            (7, Ok(shape)) => {
                for backend in every_backend::<f64>() {
                    for op in OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
                        backend.cost(op, &shape);
                        backend.error_bound(op, &shape);
                        backend.scratch_len(op, &shape);
                    }
                }
            }
            (_, Err(Error::TooLarge { .. })) => {}
            (_, other) => panic!("absurd shape {i}: {other:?}"),
        }
    }
}

/// Cost, bound and scratch are formulas: asking for them takes no longer for more images, positions or channels.
#[test]
fn problems_that_no_memory_holds_still_have_a_cost_a_bound_and_a_scratch_length() {
    for text in [
        "mb1000000000000000ic1iw1oc1ow1kw1",
        "mb100000000000000ic64iw1oc64ow1kw1",
        "mb1ic64iw100000000000000oc64ow100000000000000kw1",
        "mb1ic10000000000000iw1oc64ow1kw1",
        "mb1ic64iw1oc10000000000000ow1kw1",
        "mb1g10000000000000ic10000000000000iw1oc10000000000000ow1kw1",
    ] {
        let shape: ConvShape = text.parse().unwrap();
        for backend in every_backend::<f32>() {
            for op in OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
                assert!(backend.cost(op, &shape).flops > 0.0 && backend.error_bound(op, &shape) > 0.0, "{text}");
                backend.scratch_len(op, &shape);
            }
        }
    }
}

#[test]
fn names_that_do_not_exist_are_refused_with_those_that_do() {
    let Err(Error::UnknownBackend { name, known }) = convgrad::by_name::<f32>("fastest") else { panic!() };
    assert_eq!(name, "fastest");
    for backend in convgrad::backends::<f32>() {
        assert!(known.contains(backend.name()));
        assert_eq!(convgrad::by_name::<f32>(backend.name()).unwrap().description(), backend.description());
    }
    assert!(matches!(convgrad::Isa::by_name("mmx"), Err(Error::UnknownIsa { .. })));
}
