use convgrad::*;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let threads: usize = args[1].parse().unwrap();
    let secs: f64 = args[2].parse().unwrap();
    let check = args[3] == "check";
    let shapes: Vec<String> = if args.len() > 4 {
        args[4..].to_vec()
    } else {
        [
            "mb8ic64ih56oc64oh56kh3ph1",
            "mb8ic128ih28oc128oh28kh3ph1",
            "mb8ic256ih14oc256oh14kh3ph1",
            "mb8ic512ih7oc512oh7kh3ph1",
            "mb8ic64ih224oc64oh224kh3ph1",
            "mb8ic64ih112oc128oh112kh3ph1",
            "mb8ic128ih112oc128oh112kh3ph1",
            "mb8ic128ih56oc256oh56kh3ph1",
            "mb8ic256ih56oc256oh56kh3ph1",
            "mb8ic256ih28oc512oh28kh3ph1",
            "mb8ic512ih28oc512oh28kh3ph1",
            "mb8ic512ih14oc512oh14kh3ph1",
        ]
        .map(String::from)
        .to_vec()
    };
    let nhwc = std::env::var("NHWC").is_ok();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let name = std::env::var("BACKEND").unwrap_or("winograd".into());
    let isa = std::env::var("ISA").map(|i| Isa::by_name(&i).unwrap()).unwrap_or(Isa::best());
    let backend = backends_on::<f32>(isa).into_iter().find(|b| b.name() == name).unwrap();
    for text in shapes {
        let shape: ConvShape = text.parse().unwrap();
        let len = |d: Vec<usize>| d.iter().product::<usize>();
        let mut seed = 1u64;
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ((seed >> 40) as f32 / (1 << 23) as f32) - 1.0
                })
                .collect()
        };
        let (x, w, d, b) = (
            draw(len(shape.input_dims())),
            draw(len(shape.weights_dims())),
            draw(len(shape.output_dims())),
            draw(shape.out_channels()),
        );
        let mut out = vec![0f32; len(shape.output_dims())];
        let mut din = vec![0f32; len(shape.input_dims())];
        let layout = if nhwc { Layout::Nhwc } else { Layout::Nchw };
        let scratch = backend.scratch_len(Op::Forward, &shape).max(backend.scratch_len(Op::InputGradient, &shape));
        let mut scratch = vec![0f32; scratch];
        print!("{text:40}");
        for op in [Op::Forward, Op::InputGradient] {
            let mut times = vec![];
            let begin = Instant::now();
            let go = |scratch: &mut [f32], out: &mut [f32], din: &mut [f32]| {
                let xv = View::new(&x, &shape.input_dims(), layout).unwrap();
                let dv = View::new(&d, &shape.output_dims(), layout).unwrap();
                let wv = View::nchw(&w, &shape.weights_dims()).unwrap();
                let p = if op == Op::Forward {
                    Problem::Forward(
                        Forward::new(
                            &shape,
                            xv,
                            wv,
                            Some(&b),
                            ViewMut::new(out, &shape.output_dims(), layout).unwrap(),
                        )
                        .unwrap(),
                    )
                } else {
                    Problem::InputGradient(
                        InputGradient::new(
                            &shape,
                            wv,
                            dv,
                            ViewMut::new(din, &shape.input_dims(), layout).unwrap(),
                            Update::overwrite(),
                        )
                        .unwrap(),
                    )
                };
                pool.install(|| backend.execute(p, scratch).unwrap());
            };
            go(&mut scratch, &mut out, &mut din);
            while !check && (begin.elapsed().as_secs_f64() < secs || times.len() < 3) {
                let t = Instant::now();
                go(&mut scratch, &mut out, &mut din);
                times.push(t.elapsed().as_secs_f64());
            }
            if check {
                let f = |v: &[f32]| v.iter().map(|&x| x as f64).collect::<Vec<f64>>();
                let (x, w, d, b) = (f(&x), f(&w), f(&d), f(&b));
                let r = by_name::<f64>("im2col").unwrap();
                let xv = View::new(&x, &shape.input_dims(), layout).unwrap();
                let dv = View::new(&d, &shape.output_dims(), layout).unwrap();
                let wv = View::nchw(&w, &shape.weights_dims()).unwrap();
                let mut o = vec![0.0; if op == Op::Forward { out.len() } else { din.len() }];
                if op == Op::Forward {
                    r.forward(&shape, xv, wv, Some(&b), ViewMut::new(&mut o, &shape.output_dims(), layout).unwrap())
                        .unwrap()
                } else {
                    r.input_gradient(
                        &shape,
                        wv,
                        dv,
                        ViewMut::new(&mut o, &shape.input_dims(), layout).unwrap(),
                        Update::overwrite(),
                    )
                    .unwrap()
                }
                let g: &[f32] = if op == Op::Forward { &out } else { &din };
                let rms = (o.iter().map(|x| x * x).sum::<f64>() / o.len() as f64).sqrt();
                let mx = g.iter().zip(&o).map(|(&a, b)| (a as f64 - b).abs()).fold(0.0, f64::max);
                let ms = (g.iter().zip(&o).map(|(&a, b)| (a as f64 - b).powi(2)).sum::<f64>() / o.len() as f64).sqrt();
                print!(
                    "  {op:?} max {:.2e} typ {:.2} declared {:.2}",
                    mx / rms,
                    ms / rms / (f32::EPSILON as f64 / 2.0),
                    backend.typical_error(op, &shape)
                );
            } else {
                times.sort_by(f64::total_cmp);
                let (best, med) = (times[0], times[times.len() / 2]);
                print!("  {:8.3} {:8.3} ms {:5.0} GF", best * 1e3, med * 1e3, shape.flops() / best / 1e9);
            }
        }
        if std::env::var("PLAN").is_ok() {
            print!(" {}", backend.plan(Op::Forward, &shape).unwrap_or_default());
        }
        println!();
    }
}
