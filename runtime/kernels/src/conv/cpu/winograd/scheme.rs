//! The one-dimensional algorithms F(n, 3), which compute `n` outputs of a three-tap filter from `n + 2` products, and
//! their variants for stride 2, which need `2n + 1`. With stride 2, the outer taps read only the even inputs, so they
//! form an F(n, 2). The middle tap reads the odd inputs.
//!
//! Each algorithm computes `y = Aᵀ m` with the products `m = (G g) ⊙ (Bᵀ d)` of the filter `g` and the inputs `d`
//! (Lavin & Gray, 2016), by Toom-Cook interpolation at the points that the documentation of its type lists. The row of
//! `Bᵀ` for a point has the coefficients of a polynomial in `x`: the product of `x − q` over all finite points `q`
//! other than the point itself. A two-dimensional tile applies the algorithm to rows and to columns.

use crate::simd::Simd;

/// F(`OUT`, 3), from `IN` inputs and `IN` products.
pub(super) trait Scheme<const OUT: usize, const IN: usize>: Copy + Send + Sync + 'static {
    const STRIDE: usize;
    /// `G`, the transform of the filter.
    const FILTER: [[f64; 3]; IN];
    /// Returns `Bᵀ d`.
    fn input<S: Simd>(simd: S, d: [S::V; IN]) -> [S::V; IN];
    /// Returns `Aᵀ m`.
    fn output<S: Simd>(simd: S, m: [S::V; IN]) -> [S::V; OUT];
}

/// The operation axpy of BLAS, on vectors.
#[derive(Clone, Copy)]
struct Blas<S>(S);

impl<S: Simd> Blas<S> {
    /// Returns `k x + y`.
    #[inline(always)]
    fn axpy(self, k: f32, x: S::V, y: S::V) -> S::V {
        self.0.fma(self.0.splat(k), x, y)
    }
}

/// F(2, 3) at the points 0, ±1, ∞.
#[derive(Clone, Copy)]
pub(super) struct F2;

impl Scheme<2, 4> for F2 {
    const STRIDE: usize = 1;
    const FILTER: [[f64; 3]; 4] = [[1., 0., 0.], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0., 0., 1.]];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: [S::V; 4]) -> [S::V; 4] {
        [simd.sub(d[0], d[2]), simd.add(d[1], d[2]), simd.sub(d[2], d[1]), simd.sub(d[3], d[1])]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::V; 4]) -> [S::V; 2] {
        [simd.add(m[0], simd.add(m[1], m[2])), simd.add(simd.sub(m[1], m[2]), m[3])]
    }
}

/// F(4, 3) at the points 0, ±1, ±2, ∞.
#[derive(Clone, Copy)]
pub(super) struct F4;

impl Scheme<4, 6> for F4 {
    const STRIDE: usize = 1;
    const FILTER: [[f64; 3]; 6] = [
        [1. / 4., 0., 0.],
        [-1. / 6., -1. / 6., -1. / 6.],
        [-1. / 6., 1. / 6., -1. / 6.],
        [1. / 24., 1. / 12., 1. / 6.],
        [1. / 24., -1. / 12., 1. / 6.],
        [0., 0., 1.],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: [S::V; 6]) -> [S::V; 6] {
        let [two, four, minus_five] = [simd.splat(2.), simd.splat(4.), simd.splat(-5.)];
        let minus_four = simd.splat(-4.);
        // The polynomials of a point and of its negative have the same even part, and odd parts of opposite sign.
        let even_1 = simd.fma(minus_four, d[2], d[4]);
        let odd_1 = simd.fma(minus_four, d[1], d[3]);
        let even_2 = simd.sub(d[4], d[2]);
        let odd_2 = simd.mul(two, simd.sub(d[3], d[1]));
        [
            simd.fma(four, d[0], simd.fma(minus_five, d[2], d[4])),
            simd.add(even_1, odd_1),
            simd.sub(even_1, odd_1),
            simd.add(even_2, odd_2),
            simd.sub(even_2, odd_2),
            simd.fma(four, d[1], simd.fma(minus_five, d[3], d[5])),
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::V; 6]) -> [S::V; 4] {
        let (even_1, odd_1) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (even_2, odd_2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        [
            simd.add(m[0], simd.add(even_1, even_2)),
            simd.fma(simd.splat(2.), odd_2, odd_1),
            simd.fma(simd.splat(4.), even_2, even_1),
            simd.add(simd.fma(simd.splat(8.), odd_2, odd_1), m[5]),
        ]
    }
}

/// F(6, 3) at the points 0, ±1, ±2, ±½, ∞.
#[derive(Clone, Copy)]
pub(super) struct F6;

impl Scheme<6, 8> for F6 {
    const STRIDE: usize = 1;
    const FILTER: [[f64; 3]; 8] = [
        [1., 0., 0.],
        [-2. / 9., -2. / 9., -2. / 9.],
        [-2. / 9., 2. / 9., -2. / 9.],
        [1. / 90., 1. / 45., 2. / 45.],
        [1. / 90., -1. / 45., 2. / 45.],
        [32. / 45., 16. / 45., 8. / 45.],
        [32. / 45., -16. / 45., 8. / 45.],
        [0., 0., 1.],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: [S::V; 8]) -> [S::V; 8] {
        let blas = Blas(simd);
        // As in `F4`, a pair of points ±p has an even and an odd part. `_half` belongs to the points ±½.
        let even_1 = blas.axpy(-4.25, d[4], simd.add(d[2], d[6]));
        let odd_1 = blas.axpy(-4.25, d[3], simd.add(d[1], d[5]));
        let even_2 = blas.axpy(0.25, d[2], blas.axpy(-1.25, d[4], d[6]));
        let odd_2 = blas.axpy(0.5, d[1], blas.axpy(-2.5, d[3], simd.add(d[5], d[5])));
        let even_half = blas.axpy(4., d[2], blas.axpy(-5., d[4], d[6]));
        let odd_half = blas.axpy(2., d[1], blas.axpy(-2.5, d[3], simd.mul(simd.splat(0.5), d[5])));
        [
            blas.axpy(5.25, simd.sub(d[4], d[2]), simd.sub(d[0], d[6])),
            simd.add(even_1, odd_1),
            simd.sub(even_1, odd_1),
            simd.add(even_2, odd_2),
            simd.sub(even_2, odd_2),
            simd.add(even_half, odd_half),
            simd.sub(even_half, odd_half),
            blas.axpy(5.25, simd.sub(d[3], d[5]), simd.sub(d[7], d[1])),
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::V; 8]) -> [S::V; 6] {
        let blas = Blas(simd);
        let (even_1, odd_1) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (even_2, odd_2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        let (even_half, odd_half) = (simd.add(m[5], m[6]), simd.sub(m[5], m[6]));
        [
            simd.add(simd.add(m[0], even_1), simd.add(even_2, even_half)),
            blas.axpy(2., odd_2, blas.axpy(0.5, odd_half, odd_1)),
            blas.axpy(4., even_2, blas.axpy(0.25, even_half, even_1)),
            blas.axpy(8., odd_2, blas.axpy(0.125, odd_half, odd_1)),
            blas.axpy(16., even_2, blas.axpy(0.0625, even_half, even_1)),
            simd.add(blas.axpy(32., odd_2, blas.axpy(0.03125, odd_half, odd_1)), m[7]),
        ]
    }
}

/// The variant of F(2, 3) for stride 2. Its outer taps form an F(2, 2) at the points 0, 1, ∞.
#[derive(Clone, Copy)]
pub(super) struct Strided2;

impl Scheme<2, 5> for Strided2 {
    const STRIDE: usize = 2;
    const FILTER: [[f64; 3]; 5] = [[1., 0., 0.], [0., 1., 0.], [1., 0., 1.], [0., 1., 0.], [0., 0., 1.]];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: [S::V; 5]) -> [S::V; 5] {
        [simd.sub(d[0], d[2]), d[1], d[2], d[3], simd.sub(d[4], d[2])]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::V; 5]) -> [S::V; 2] {
        [simd.add(m[1], simd.add(m[0], m[2])), simd.add(m[3], simd.add(m[2], m[4]))]
    }
}

/// The variant of F(4, 3) for stride 2. Its outer taps form an F(4, 2) at the points 0, ±1, 2, ∞.
#[derive(Clone, Copy)]
pub(super) struct Strided4;

impl Scheme<4, 9> for Strided4 {
    const STRIDE: usize = 2;
    const FILTER: [[f64; 3]; 9] = [
        [1. / 2., 0., 0.],
        [0., 1., 0.],
        [-1. / 2., 0., -1. / 2.],
        [0., 1., 0.],
        [-1. / 6., 0., 1. / 6.],
        [0., 1., 0.],
        [1. / 6., 0., 1. / 3.],
        [0., 1., 0.],
        [0., 0., 1.],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: [S::V; 9]) -> [S::V; 9] {
        let blas = Blas(simd);
        // The even inputs, which the coefficients of 1, x, x², x³ and x⁴ multiply.
        let [a, b, c, e, f] = [d[0], d[2], d[4], d[6], d[8]];
        // `at_2` has the polynomial x³ − x, and `quartic` has x⁴ − x².
        let at_2 = simd.sub(e, b);
        let quartic = simd.sub(f, c);
        let at_0 = blas.axpy(-2., simd.sub(c, a), at_2);
        let at_1 = blas.axpy(-2., b, simd.sub(e, c));
        let at_minus_1 = blas.axpy(2., b, blas.axpy(-3., c, e));
        let at_infinity = blas.axpy(-2., at_2, quartic);
        [at_0, d[1], at_1, d[3], at_minus_1, d[5], at_2, d[7], at_infinity]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::V; 9]) -> [S::V; 4] {
        let blas = Blas(simd);
        let (even, odd) = (simd.add(m[2], m[4]), simd.sub(m[2], m[4]));
        [
            simd.add(simd.add(m[0], m[1]), simd.add(even, m[6])),
            blas.axpy(2., m[6], simd.add(odd, m[3])),
            blas.axpy(4., m[6], simd.add(even, m[5])),
            blas.axpy(8., m[6], simd.add(odd, simd.add(m[7], m[8]))),
        ]
    }
}
