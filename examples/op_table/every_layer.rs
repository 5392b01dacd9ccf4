//! A table with every layer, each on a small input.

pub const EVERY_LAYER: &str = "\
linear        | Linear(12, 8, bias=False)                                          | 3 12
embedding     | Embedding(10, 4, padding_idx=None)                                 | 2 5
embedding_bag | EmbeddingBag(10, 4, mode='max', padding_idx=3)                     | 2 5
rotary        | RotaryPositionalEmbeddings(6, base=100)                            | 2 5 8
identity      | Identity()                                                         | 2 3
flatten       | Flatten(start_dim=1) + Unflatten(1, (2, -1))                       | 2 4 3
sequential    | Sequential(Linear(4, 4), ReLU()) + Linear(4, 2)                    | 3 4
conv1d        | Conv1d(4, 8, 3, padding='same', groups=2)                          | 2 4 9
conv2d        | Conv2d(4, 8, (3, 1), 2, padding=(1, 0), padding_mode=\"reflect\")    | 2 4 9 9
conv3d        | Conv3d(4, 8, (1, 3, 3), 2, padding=(0, 1, 1), padding_mode='circular') | 2 4 3 9 9
transposed1d  | ConvTranspose1d(4, 2, 4, stride=2, padding=1)                      | 2 4 9
transposed2d  | ConvTranspose2d(4, 2, 3, 2, 1, 1, padding_mode='zeros')            | 2 4 5 5
transposed3d  | ConvTranspose3d(4, 2, 3, (1, 2, 2), 1, (0, 1, 1))                  | 2 4 3 5 5
batch_norm_1d | BatchNorm1d(6, 1e-3)                                               | 4 6
batch_norm_2d | BatchNorm2d(6, momentum=None)                                      | 2 6 4 4
batch_norm_3d | BatchNorm3d(6, affine=False)                                       | 2 6 2 4 4
instance_1d   | InstanceNorm1d(6)                                                  | 2 6 8
instance_2d   | InstanceNorm2d(6, affine=True)                                     | 2 6 4 4
instance_3d   | InstanceNorm3d(6, track_running_stats=True)                        | 2 6 2 4 4
group_norm    | GroupNorm(2, 6, affine=False)                                      | 2 6 4 4
layer_norm    | LayerNorm([4, 8], elementwise_affine=True)                         | 3 4 8
layer_norm_2d | LayerNorm2d(6, eps=1e-5)                                           | 2 6 4 4
rms_norm      | RMSNorm(8, eps=None)                                               | 3 8
max_pool_1d   | MaxPool1d(3, stride=None)                                          | 2 3 9
max_pool_2d   | MaxPool2d((3, 2), stride=2, padding=(1, 0), ceil_mode=True)        | 2 3 9 8
max_pool_3d   | MaxPool3d((1, 3, 3), stride=2, padding=(0, 1, 1))                  | 2 3 4 9 8
avg_pool_1d   | AvgPool1d(2)                                                       | 2 3 8
avg_pool_2d   | AvgPool2d(3, 1, 1, count_include_pad=False, divisor_override=None) | 2 3 8 8
avg_pool_3d   | AvgPool3d((2, 3, 3), 1, 1, divisor_override=5)                     | 2 3 4 8 8
adaptive_avg  | AdaptiveAvgPool2d((None, 3)) + Flatten(1, 2) + AdaptiveAvgPool1d(2) | 2 3 8 8
adaptive_max  | AdaptiveMaxPool2d(3) + Flatten(1, 2) + AdaptiveMaxPool1d(2)        | 2 3 8 8
adaptive_3d   | AdaptiveMaxPool3d((None, 3, 3)) + Dropout3d(0.2) + AdaptiveAvgPool3d(1) | 2 3 4 8 8
upsample      | Upsample(scale_factor=(1.5, 2), mode='bilinear')                   | 1 2 4 4
shuffle       | PixelShuffle(2) + PixelUnshuffle(2)                                | 1 4 4 4
unfold        | Unfold(2, stride=1) + Fold((4, 5), kernel_size=2)                  | 1 3 4 5
channels      | ChannelShuffle(2) + Permute((0, 2, 3, 1))                          | 1 4 4 4
pad           | ZeroPad2d(1) + ReflectionPad2d((1, 1, 0, 2)) + ReplicationPad2d(1) | 1 2 4 4
circular_pad  | CircularPad2d(1)                                                   | 1 2 4 4
relu          | ReLU(inplace=True) + ReLU6()                                       | 4 8
sigmoid       | SiLU() + Sigmoid() + Tanh() + Mish() + SELU() + LogSigmoid()       | 4 8
hard          | Hardswish() + Hardsigmoid() + Hardtanh(-2, max_val=.5)             | 4 8
shrink        | Softshrink(0.1) + Hardshrink(lambd=0.2) + Tanhshrink() + Softsign() | 4 8
threshold     | Threshold(0.1, value=-20)                                          | 4 8
gelu          | GELU() + GELU(approximate='tanh')                                  | 4 8
elu           | LeakyReLU(0.2) + ELU() + CELU(0.5) + Softplus(beta=2)              | 4 8
rrelu         | RReLU(0.1, upper=0.5) + Softmax2d()                                | 2 4 8
prelu         | PReLU() + PReLU(8, init=.1)                                        | 4 8
softmax       | Softmax(dim=-1) + LogSoftmax(1) + Softmin(0) + GLU()               | 4 8
depth         | StochasticDepth(0.1, 'batch') + StochasticDepth(0.1, mode='row')   | 2 4 8
dropout       | Dropout() + Dropout1d(p=0.1) + Dropout2d(0.)                       | 2 4 8
alpha_dropout | AlphaDropout(0.1) + FeatureAlphaDropout()                          | 2 4 8
attention     | MultiheadAttention(8, 2)                                           | 2 5 8
transformer   | TransformerEncoderLayer(8, 2, 16, activation='gelu')               | 5 2 8
lstm          | LSTM(4, 8, num_layers=2, bidirectional=True)                       | 5 2 4
gru           | GRU(4, 8, batch_first=True)                                        | 2 5 4
rnn           | RNN(4, 8, 1, 'relu')                                               | 5 2 4
cells         | LSTMCell(4, 8) + GRUCell(8, 8) + RNNCell(8, 8, nonlinearity='relu') | 2 4
";
