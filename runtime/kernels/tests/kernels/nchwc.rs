//! Conversions between the layouts `Nchw` and `Nchwc`.

/// Converts elements from the layout `Nchw` to `Nchwc`.
pub fn to_nchwc(nchw: &[f32], channels: usize, [height, width]: [usize; 2], lanes: usize) -> Vec<f32> {
    let pixels = height * width;
    let images = nchw.len().checked_div(channels * pixels).unwrap_or(0);
    let mut nchwc = vec![0.; images * channels.next_multiple_of(lanes) * pixels];
    for (i, value) in nchw.iter().enumerate() {
        let (plane, pixel) = (i / pixels, i % pixels);
        let (image, channel) = (plane / channels, plane % channels);
        let block = image * channels.div_ceil(lanes) + channel / lanes;
        nchwc[(block * pixels + pixel) * lanes + channel % lanes] = *value;
    }
    nchwc
}

/// Converts elements of a tensor `[batch, channels, height, width]` from the layout `Nchwc` to `Nchw`. Asserts that
/// lanes without a channel are zero.
pub fn to_nchw(nchwc: &[f32], [batch, channels, height, width]: [usize; 4], lanes: usize) -> Vec<f32> {
    let (pixels, blocks) = (height * width, channels.div_ceil(lanes));
    let mut nchw = vec![f32::NAN; batch * channels * pixels];
    for (i, value) in nchwc.iter().enumerate() {
        let (vector, lane) = (i / lanes, i % lanes);
        let (block, pixel) = (vector / pixels, vector % pixels);
        let (image, channel) = (block / blocks, block % blocks * lanes + lane);
        if channel < channels {
            nchw[(image * channels + channel) * pixels + pixel] = *value;
        } else {
            assert!(*value == 0., "expected zero in a padding lane, found {value}");
        }
    }
    nchw
}
