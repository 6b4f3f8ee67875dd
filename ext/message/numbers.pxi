# Numbers, q-values and dates.

cdef long parse_number(const uint8_t* data, Slice text) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint32_t at
    if text.start >= text.end:
        return -1
    for at in range(text.start, text.end):
        if not is_digit(data[at]):
            return -1
        value = value * 10 + (data[at] - c'0')
        if value > <uint64_t>0xFFFFFFFF:
            value = <uint64_t>0xFFFFFFFF
    return <long>value

cdef int parse_qvalue(const uint8_t* data, Slice text) noexcept nogil:
    cdef uint32_t at = text.start, end = text.end
    cdef int value, unit = 100
    if at >= end or end - at > 5 or (data[at] != c'0' and data[at] != c'1'):
        return -1
    value = (data[at] - c'0') * 1000
    at += 1
    if at == end:
        return value
    if data[at] != c'.':
        return -1
    for at in range(at + 1, end):
        if not is_digit(data[at]):
            return -1
        value += (data[at] - c'0') * unit
        unit //= 10
    return value if value <= 1000 else -1

# Days from 1970-01-01 of a day in the Gregorian calendar: years begin in March, so that a leap day ends one.
cdef inline long civil_days(long year, long month, long day) noexcept nogil:
    cdef long era, of_era, of_year
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468

# The digits [at, at+count) as a number, -1 if they are not all digits or not all there.
cdef inline long fixed_digits(const uint8_t* data, uint32_t at, uint32_t end, uint32_t count) noexcept nogil:
    if at + count > end:
        return -1
    return parse_number(data, make_slice(at, at + count))

# 1..12 from a month's three letters, 0 for anything else.
cdef inline int month_of(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    cdef const char* months = b"janfebmaraprmayjunjulaugsepoctnovdec"
    cdef int i
    if at + 3 > end:
        return 0
    for i in range(12):
        if same_folded(data + at, <const uint8_t*>months + 3 * i, 3):
            return i + 1
    return 0

cdef inline bint is_month_day(long year, int month, long day) noexcept nogil:
    cdef int days = 31
    if month == 4 or month == 6 or month == 9 or month == 11:
        days = 30
    elif month == 2:
        days = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 1 <= day <= days

# The three forms of HTTP and mail, all in GMT (20.17 allows the first alone):
#   Sat, 13 Nov 2010 23:29:00 GMT    Saturday, 13-Nov-10 23:29:00 GMT    Sat Nov 13 23:29:00 2010
cdef long parse_date(const uint8_t* data, Slice text) noexcept nogil:
    cdef uint32_t at = skip_blank(data, text.start, text.end), start = at, end = text.end, clock
    cdef long year, day, hour, minute, second
    cdef int month
    cdef Slice zone
    cdef bint asctime = 0, dashes = 0
    while end > at and is_blank(data[end - 1]):
        end -= 1
    while at < end and <uint8_t>((data[at] | 0x20) - c'a') < 26:
        at += 1
    if at - start < 3 or at == end:
        return -1
    if data[at] == c',':
        at = skip_blank(data, at + 1, end)
        day = fixed_digits(data, at, end, 2)
        if day >= 0:
            at += 2
        else:
            day = fixed_digits(data, at, end, 1)
            at += 1
        if at >= end:
            return -1
        dashes = data[at] == c'-'
        if not dashes and data[at] != SP:
            return -1
        month = month_of(data, at + 1, end)
        at += 4
        if at >= end or data[at] != (c'-' if dashes else SP):
            return -1
        at += 1
        year = fixed_digits(data, at, end, 4)
        if year >= 0:
            at += 4
        else:
            year = fixed_digits(data, at, end, 2)
            if year < 0 or not dashes:
                return -1
            year += 1900 if year >= 70 else 2000
            at += 2
        if at >= end or data[at] != SP:
            return -1
        clock = at + 1
    else:
        asctime = 1
        at = skip_blank(data, at, end)
        month = month_of(data, at, end)
        at = skip_blank(data, at + 3, end)
        day = fixed_digits(data, at, end, 2)
        if day >= 0:
            at += 2
        else:
            day = fixed_digits(data, at, end, 1)
            at += 1
        if at >= end or data[at] != SP:
            return -1
        clock = at + 1
        if clock + 13 != end or data[clock + 8] != SP:
            return -1
        year = fixed_digits(data, clock + 9, end, 4)
    if clock + 8 > end or data[clock + 2] != c':' or data[clock + 5] != c':':
        return -1
    hour = fixed_digits(data, clock, end, 2)
    minute = fixed_digits(data, clock + 3, end, 2)
    second = fixed_digits(data, clock + 6, end, 2)
    if not asctime:
        if clock + 9 > end or data[clock + 8] != SP:
            return -1
        zone = make_slice(clock + 9, end)
        if not is_word(data, zone, b"gmt", 3) and not is_word(data, zone, b"utc", 3):
            return -1
    if month == 0 or year < 1970 or hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 60:
        return -1
    if not is_month_day(year, month, day):
        return -1
    return civil_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
