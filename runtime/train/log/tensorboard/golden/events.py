"""Records events.bin with TensorBoard's own writer, for the test of event files.

Needs the package tensorboard: pip install tensorboard==2.21.0
"""

import pathlib

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

WALL_TIME = 1_700_000_000.5


def scalars(step, values):
    value = [Summary.Value(tag=tag, simple_value=number) for tag, number in values]
    return Event(wall_time=WALL_TIME, step=step, summary=Summary(value=value))


events = [
    Event(wall_time=WALL_TIME, file_version="brain.Event:2"),
    Event(wall_time=WALL_TIME, step=300, session_log=SessionLog(status=SessionLog.START)),
    scalars(0, [("loss/train", 0.5)]),
    scalars(300, [("loss/train", 0.5), ("accuracy/valid", 0.875)]),
    scalars(1 << 40, [("loss/valid", float("nan")), ("lr", 1e-3)]),
]
with open(pathlib.Path(__file__).with_name("events.bin"), "wb") as file:
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    writer.flush()
