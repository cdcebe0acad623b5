"""The client side: many connections from one thread of one process, over epoll, with the bytes of each request made before.

Closed loop: each of N connections sends, waits for the answer, sends again; one that was told to come again (503) waits
50 ms. Open loop: requests fall due at random moments (Poisson) of a fixed rate, whether or not the service keeps up; the
time of an answer counts from the moment when its request was due, so that a request that could not be sent in time, here
or there, is not left out of account. A 503 counts from the moment when the request's headers were sent.

What is due goes out on a connection that is free, else on a new one. Answers are kept and compared after the drive. How
late the drive took up what was due, and what share of a processor it needed, is measured too: it shares the machine.
"""
import gc
import heapq
import html
import multiprocessing
import random
import re
import select
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

PAUSE_S = 0.05    # of a connection of the closed loop that was told to come again
STALE_S = 20      # a connection that was free for longer is not used again: the service may just be closing it
PATIENCE_S = 300  # for answers after the last request, as long as one may take; what is not answered then is lost
CHUNK = 1 << 18

now = time.perf_counter


def request(method, path, body=b"", kind=None, headers=()):
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if kind:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def upload(picture):
    """POST /upload/ of a JPEG, as a browser's form sends it."""
    body = (b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
            + picture + b"\r\n--b--\r\n")
    return request("POST", "/upload/", body, "multipart/form-data; boundary=b")


def percentile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


@dataclass
class Outcome:
    """Times in seconds."""
    accepted: list = field(default_factory=list)  # from when the request was due to the last byte of its answer
    refused: list = field(default_factory=list)   # 503: from when its headers were sent
    late: list = field(default_factory=list)      # from when it was due to when the drive took it up
    faults: Counter = field(default_factory=Counter)
    took: float = 0                               # from the first request to the last answer
    cpu: float = 0                                # of the drive's process
    offered: float = 0                            # requests a second that fell due

    @property
    def rate(self):
        return len(self.accepted) / self.took if self.took else 0.0

    def ms(self, q):
        return percentile(self.accepted, q) * 1e3

    def refused_ms(self, q):
        return percentile(self.refused, q) * 1e3

    def late_ms(self, q):
        return percentile(self.late, q) * 1e3

    def refused_text(self):
        """How many, and milliseconds of the 99th percentile and of the longest, as cells of a table."""
        return f"{len(self.refused)} | {self.refused_ms(.99):.1f} | {self.refused_ms(1):.1f}" if self.refused else "0 | | "

    def fault_text(self):
        return ", ".join(f"{count} {what}" for what, count in self.faults.items()) or "0"


class Connection:
    __slots__ = ("socket", "number", "out", "got", "need", "status", "close", "due", "sent", "wanted", "writing", "cookies",
                 "stage", "pictures", "freed")


class Drive:
    """One run. `due` are moments in seconds from its start; `next_due(now, refused)` says when a connection that has its
    answer sends again, or None. `check` is asked of each accepted answer's body, when all is over. With `follow` an answer
    is there when the page behind its redirect is, and the pictures on that page, as a browser fetches them."""

    def __init__(self, port, requests, due, next_due=None, check=None, follow=False):
        self.port, self.requests, self.due, self.next_due = port, requests, due, next_due
        self.check, self.follow = check, follow
        self.epoll, self.open, self.free = select.epoll(), {}, []
        self.outcome, self.answers, self.issued, self.busy = Outcome(), [], 0, 0
        heapq.heapify(self.due)

    def run(self):
        gc.disable()
        cpu, began = time.process_time(), now()
        self.due[:] = [began + due for due in self.due]
        ended, deadline = began, None
        while self.due or self.busy:
            moment = now()
            while self.due and self.due[0] <= moment:
                self.begin(heapq.heappop(self.due), moment)
                moment = now()
            if self.due:
                # epoll's own time-out counts milliseconds; that of select, on the epoll, microseconds
                select.select([self.epoll], [], [], max(0, self.due[0] - now()))
                events, deadline = self.epoll.poll(0), None
            else:
                deadline = deadline or moment + PATIENCE_S
                events = self.epoll.poll(max(0, deadline - moment))
                if moment >= deadline and not events:
                    self.outcome.faults["no answer"] += self.busy
                    break
            for number, event in events:
                self.serve(self.open.get(number), event)
            if events:
                ended = now()
        self.outcome.took, self.outcome.cpu = ended - began, time.process_time() - cpu
        for connection in self.open.values():
            connection.socket.close()
        wrong = sum(not self.check(answer.partition(b"\r\n\r\n")[2]) for answer in self.answers)
        if wrong:
            self.outcome.faults["wrong answer"] += wrong
        return self.outcome

    def connect(self, c):
        c.socket = socket.socket()
        c.socket.setblocking(False)
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.socket.connect_ex(("127.0.0.1", self.port))
        c.number, c.writing = c.socket.fileno(), True
        self.open[c.number] = c
        self.epoll.register(c.number, select.EPOLLIN | select.EPOLLOUT)

    def drop(self, c):
        del self.open[c.number]
        self.epoll.unregister(c.number)
        c.socket.close()

    def begin(self, due, moment):
        while self.free and moment - self.free[-1].freed > STALE_S:
            self.drop(self.free.pop())
        if self.free:
            c = self.free.pop()
        else:
            c = Connection()
            self.connect(c)
        c.due, c.cookies, c.stage, c.pictures = due, {}, "upload", []
        self.busy += 1
        self.outcome.late.append(moment - due)
        self.ask(c, self.requests[self.issued % len(self.requests)])
        self.issued += 1

    def ask(self, c, message):
        c.out, c.got, c.need, c.sent, c.wanted = memoryview(message), bytearray(), None, None, True
        self.push(c)

    def push(self, c):
        """Sends what the socket takes."""
        try:
            while c.out:
                moment = now()
                c.out = c.out[c.socket.send(c.out):]
                c.sent = c.sent or moment  # the first piece holds the headers
        except BlockingIOError:
            pass
        except OSError:
            c.out = c.out[:0]  # no more of the body is wanted: an answer may be there, pull() will see
            c.close = True
        if bool(c.out) != c.writing:
            c.writing = bool(c.out)
            self.epoll.modify(c.number, select.EPOLLIN | (select.EPOLLOUT if c.writing else 0))

    def serve(self, c, event):
        if not c:
            return  # dropped by an event before this one
        if event & select.EPOLLOUT and c.wanted:
            self.push(c)
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self.pull(c)

    def pull(self, c):
        try:
            data = c.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as fault:
            return self.broken(c, type(fault).__name__)
        if not data:
            return self.broken(c, "closed without an answer")
        if not c.wanted:
            self.outcome.faults["answer that nobody asked for"] += 1
            return self.broken(c, "")
        c.got += data
        if c.need is None:
            end = c.got.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(c.got[:end]).decode("latin-1").lower()
            length = re.search(r"content-length: *(\d+)", head)
            if not length:
                return self.broken(c, "answer without a length")
            c.need, c.status, c.close = end + 4 + int(length.group(1)), int(head[9:12]), "connection: close" in head
        if len(c.got) >= c.need:
            self.answered(c)

    def answered(self, c):
        moment, good = now(), c.status in (200, 201, 302, 303)
        c.wanted = False
        if good and self.follow and self.go_on(c):
            return
        self.busy -= 1
        if good:
            self.outcome.accepted.append(moment - c.due)
            if self.check:
                self.answers.append(bytes(c.got))
        elif c.status == 503:
            self.outcome.refused.append(moment - c.sent)
        else:
            self.outcome.faults[f"status {c.status}"] += 1
        if c.close or c.out:
            self.drop(c)
        else:
            c.freed = moment
            self.free.append(c)
        self.again(moment, c.status == 503)

    def go_on(self, c):
        """Asks for what comes next of an upload; False when all of it is there."""
        head, _, body = bytes(c.got).partition(b"\r\n\r\n")
        if c.stage == "upload":
            head = head.decode("latin-1")
            c.cookies = dict(re.findall(r"(?im)^set-cookie: *([^=;\s]+)=([^;\r\n]*)", head))
            c.stage, path = "page", re.search(r"(?im)^location: *(\S+)", head).group(1)
        else:
            if c.stage == "page":
                c.stage, c.pictures = "pictures", re.findall(r'<img [^>]*?src="(/[^"]+)"', body.decode())
            if not c.pictures:
                return False
            path = html.unescape(c.pictures.pop())
        if c.close:
            self.drop(c)
            self.connect(c)
        cookie = "; ".join(f"{name}={value}" for name, value in c.cookies.items())
        self.ask(c, request("GET", path, headers=[f"Cookie: {cookie}"] if cookie else []))
        return True

    def again(self, moment, refused):
        due = self.next_due(moment, refused) if self.next_due else None
        if due is not None:
            heapq.heappush(self.due, due)

    def broken(self, c, what):
        self.drop(c)
        if c.wanted:
            self.busy -= 1
            self.outcome.faults[what] += 1
            self.again(now(), True)
        else:
            self.free.remove(c)  # the service closed it while nothing was asked


def apart(function, meanwhile=None):
    """The result of the function, called in a process of its own; `meanwhile` is called here ten times a second."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    process = context.Process(target=lambda: sender.send(function()), daemon=True)
    process.start()
    sender.close()
    try:
        while meanwhile and not receiver.poll(0.1):
            meanwhile()
        return receiver.recv()
    except EOFError:
        sys.exit("the drive broke off")
    finally:
        process.join()


def closed_loop(port, requests, connections, seconds=None, count=None, meanwhile=None, **more):
    """For `seconds`, or until `count` requests are sent."""
    first = min(connections, count or connections)

    def drive():
        until, left = now() + (seconds or 0), (count or 0) - first

        def next_due(moment, refused):
            nonlocal left
            left -= 1
            return moment + PAUSE_S * refused if (left >= 0 if count else moment < until) else None

        return Drive(port, requests, [0] * first, next_due, **more).run()

    return apart(drive, meanwhile)


def open_loop(port, requests, rate, seconds, seed, meanwhile=None, **more):
    """`rate` requests a second for `seconds`, at moments that `seed` decides."""
    chance, due, moment = random.Random(seed), [], 0
    while (moment := moment + chance.expovariate(rate)) < seconds:
        due.append(moment)
    outcome = apart(lambda: Drive(port, requests, due, **more).run(), meanwhile)
    outcome.offered = len(due) / seconds
    return outcome
