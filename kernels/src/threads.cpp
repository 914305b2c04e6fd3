#include "threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

namespace threads {
namespace {

struct Job {
    const std::function<void(i64)>& body;
    const i64 tasks;
    std::atomic<i64> next{0};
    int helpers = 0;            // workers inside; under the pool's mutex
    int wanted;                 // workers that may still come; under the pool's mutex
    std::exception_ptr error;   // under the pool's mutex
    std::condition_variable left;

    Job(const std::function<void(i64)>& body, i64 tasks, int wanted) : body(body), tasks(tasks), wanted(wanted) {}
};

struct Pool {
    std::mutex mutex;
    std::condition_variable work;
    std::deque<Job*> jobs;
    int workers = 0;
    std::atomic<int> limit{1};

    void run(Job& job) {
        for (i64 i; (i = job.next.fetch_add(1)) < job.tasks;) {
            try {
                job.body(i);
            } catch (...) {
                job.next = job.tasks;
                std::lock_guard<std::mutex> lock(mutex);
                if (!job.error) job.error = std::current_exception();
            }
        }
    }

    void serve() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            work.wait(lock, [&] { return !jobs.empty(); });
            Job& job = *jobs.front();
            ++job.helpers;
            if (--job.wanted == 0) jobs.pop_front();
            lock.unlock();
            run(job);
            lock.lock();
            if (--job.helpers == 0) job.left.notify_all();
        }
    }

    void share(Job& job) {
        std::unique_lock<std::mutex> lock(mutex);
        for (; workers < limit - 1; ++workers) std::thread(&Pool::serve, this).detach();
        jobs.push_back(&job);
        lock.unlock();
        work.notify_all();
        run(job);
        lock.lock();
        auto at = std::find(jobs.begin(), jobs.end(), &job);
        if (at != jobs.end()) jobs.erase(at);
        job.left.wait(lock, [&] { return job.helpers == 0; });
    }
};

// Never destroyed, since workers may outlive static destructors; made anew after a fork, which leaves workers behind.
Pool* pool = [] {
    pthread_atfork(nullptr, nullptr, [] {
        const int limit = pool->limit;
        pool = new Pool;
        pool->limit = limit;
    });
    return new Pool;
}();

struct Kept {
    void* at = nullptr;
    i64 bytes = 0;
    ~Kept() { std::free(at); }
};
thread_local Kept kept[SLOTS];

}  // namespace

void set(int n) { pool->limit = n; }
int get() { return pool->limit; }

void each(i64 tasks, const std::function<void(i64)>& body) {
    const int helpers = (int)std::min<i64>(pool->limit, tasks) - 1;
    if (helpers < 1) {
        for (i64 i = 0; i < tasks; ++i) body(i);
        return;
    }
    Job job(body, tasks, helpers);
    pool->share(job);
    if (job.error) std::rethrow_exception(job.error);
}

void ranges(i64 n, i64 least, i64 step, const std::function<void(i64, i64)>& body) {
    const i64 parts = std::max<i64>(1, std::min<i64>(get(), n / std::max<i64>(least, 1)));
    const i64 size = ((n + parts - 1) / parts + step - 1) / step * step;
    if (n > 0) each((n + size - 1) / size, [&](i64 i) { body(i * size, std::min(n, (i + 1) * size)); });
}

void* scratch(Slot slot, i64 bytes) {
    Kept& k = kept[slot];
    if (k.bytes < bytes || k.bytes > 4 * bytes + (4 << 20)) {
        std::free(k.at);
        k.bytes = 0;
        k.at = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (!k.at) throw std::bad_alloc();
        k.bytes = bytes;
    }
    return k.at;
}

}  // namespace threads
