# SPDX-License-Identifier: Apache-2.0
# In a guest with the test kernel: Linux's dmatest on every channel at once, with copies and, where a
# channel has them, XOR and P+Q; THREADS threads for each, ITERATIONS tests per thread. It fills the
# buffers, runs the operation and checks every byte, also those outside the target.

. /common.sh
load dca
load ioatdma
load dmatest
parameters=/sys/module/dmatest/parameters
echo "${ITERATIONS:-500}" >$parameters/iterations
echo "${THREADS:-2}" >$parameters/threads_per_chan
# The emulated processor makes and checks the data; longer buffers only keep it busy.
echo "${BYTES:-4096}" >$parameters/test_buf_size
echo 20000 >$parameters/timeout
for channel in $(ls /sys/class/dma); do echo "$channel" >$parameters/channel; done
dmesg -c
echo 1 >$parameters/run
# Ends when all threads have.
cat $parameters/wait
grep ioat /proc/interrupts
dmesg
finish
