//! The codes the made-up hospital uses: diagnoses, laboratory tests, medicines, vaccines, in the public code systems.

/// ICD-10-CM.
pub(crate) const ICD10: &str = "http://hl7.org/fhir/sid/icd-10-cm";
/// SNOMED CT.
pub(crate) const SNOMED: &str = "http://snomed.info/sct";
/// LOINC.
pub(crate) const LOINC: &str = "http://loinc.org";
/// RxNorm.
pub(crate) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
/// CVX, the vaccine codes of the CDC.
pub(crate) const CVX: &str = "http://hl7.org/fhir/sid/cvx";
/// HCPCS level II.
pub(crate) const HCPCS: &str = "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets";
/// UCUM units.
pub(crate) const UCUM: &str = "http://unitsofmeasure.org";
/// v3 ActCode.
pub(crate) const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
/// v3 RoleCode.
pub(crate) const ROLE: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleCode";
/// v3 ParticipationType.
pub(crate) const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";

/// A code and the words for it.
pub(crate) type Code = (&'static str, &'static str);

/// A laboratory test or score. Values are whole numbers in units of `10^-decimals`.
pub(crate) struct Lab {
    pub(crate) code: Code,
    pub(crate) unit: Code,
    pub(crate) decimals: u32,
    /// The reference range.
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// The range values of patients with the disease are drawn from.
    pub(crate) ill: (i64, i64),
    /// `Some(true)`: answers positive or negative, not a number.
    pub(crate) qualitative: bool,
    /// A score of a questionnaire, not a specimen.
    pub(crate) survey: bool,
}

const fn lab(code: Code, unit: Code, decimals: u32, low: i64, high: i64, ill: (i64, i64)) -> Lab {
    Lab { code, unit, decimals, low, high, ill, qualitative: false, survey: false }
}

const fn presence(code: Code) -> Lab {
    Lab { code, unit: ("", ""), decimals: 0, low: 0, high: 0, ill: (0, 0), qualitative: true, survey: false }
}

const fn score(code: Code, high: i64, ill: (i64, i64)) -> Lab {
    Lab { code, unit: ("{score}", "score"), decimals: 0, low: 0, high, ill, qualitative: false, survey: true }
}

/// A medicine: the product, its ingredient, and how it is taken.
pub(crate) struct Medicine {
    pub(crate) product: Code,
    pub(crate) ingredient: Code,
    pub(crate) dose: &'static str,
    pub(crate) per_day: u8,
}

const fn medicine(product: Code, ingredient: Code, dose: &'static str, per_day: u8) -> Medicine {
    Medicine { product, ingredient, dose, per_day }
}

/// Which department sees the course of a disease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clinic {
    Medicine,
    Pediatrics,
    Psychiatry,
    Infection,
    Women,
}

/// A disease with what follows from it.
pub(crate) struct Course {
    pub(crate) key: &'static str,
    pub(crate) icd: Code,
    pub(crate) snomed: Code,
    pub(crate) labs: &'static [Lab],
    pub(crate) medicines: &'static [Medicine],
    pub(crate) clinic: Clinic,
    /// Ends within weeks.
    pub(crate) acute: bool,
    pub(crate) ages: (i64, i64),
    /// `female`, or empty for anybody.
    pub(crate) sex: &'static str,
    /// Of 1000 people of that age and sex.
    pub(crate) per_mille: usize,
    pub(crate) note: &'static str,
}

#[allow(clippy::too_many_arguments)]
const fn course(
    key: &'static str,
    icd: Code,
    snomed: Code,
    labs: &'static [Lab],
    medicines: &'static [Medicine],
    clinic: Clinic,
    acute: bool,
    ages: (i64, i64),
    per_mille: usize,
    note: &'static str,
) -> Course {
    Course { key, icd, snomed, labs, medicines, clinic, acute, ages, sex: "", per_mille, note }
}

const fn women(mut course: Course) -> Course {
    course.sex = "female";
    course
}

const MG_DL: Code = ("mg/dL", "mg/dL");
const PERCENT: Code = ("%", "%");
const MMOL_L: Code = ("mmol/L", "mmol/L");
const G_DL: Code = ("g/dL", "g/dL");
const THOUSAND: Code = ("10*3/uL", "10*3/uL");

pub(crate) const CREATININE: Lab =
    lab(("2160-0", "Creatinine [Mass/volume] in Serum or Plasma"), MG_DL, 2, 60, 120, (140, 260));
pub(crate) const POTASSIUM: Lab =
    lab(("2823-3", "Potassium [Moles/volume] in Serum or Plasma"), MMOL_L, 1, 35, 51, (52, 58));
pub(crate) const SODIUM: Lab =
    lab(("2951-2", "Sodium [Moles/volume] in Serum or Plasma"), MMOL_L, 0, 136, 145, (128, 134));
pub(crate) const GLUCOSE: Lab =
    lab(("2345-7", "Glucose [Mass/volume] in Serum or Plasma"), MG_DL, 0, 70, 99, (140, 290));
pub(crate) const HEMOGLOBIN: Lab =
    lab(("718-7", "Hemoglobin [Mass/volume] in Blood"), G_DL, 1, 120, 160, (85, 115));
pub(crate) const LEUKOCYTES: Lab = lab(
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count"),
    THOUSAND,
    2,
    400,
    1100,
    (1250, 2100),
);
const A1C: Lab = lab(("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"), PERCENT, 1, 40, 56, (66, 104));
const LDL: Lab = lab(
    ("13457-7", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation"),
    MG_DL,
    0,
    50,
    129,
    (135, 205),
);
const CHOLESTEROL: Lab =
    lab(("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma"), MG_DL, 0, 120, 199, (210, 290));
const TSH: Lab = lab(
    ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma"),
    ("m[IU]/L", "mIU/L"),
    2,
    40,
    400,
    (480, 1200),
);
const GFR: Lab = lab(
    (
        "33914-3",
        "Glomerular filtration rate/1.73 sq M.predicted [Volume Rate/Area] in Serum or Plasma by Creatinine-based formula (MDRD)",
    ),
    ("mL/min/{1.73_m2}", "mL/min/1.73 m2"),
    0,
    60,
    120,
    (31, 58),
);
const INR: Lab =
    lab(("6301-6", "INR in Platelet poor plasma by Coagulation assay"), ("{INR}", "INR"), 1, 9, 11, (20, 31));
const BNP: Lab = lab(
    ("30934-4", "Natriuretic peptide B [Mass/volume] in Serum or Plasma"),
    ("pg/mL", "pg/mL"),
    0,
    0,
    100,
    (280, 1900),
);
const CRP: Lab = lab(
    ("1988-5", "C reactive protein [Mass/volume] in Serum or Plasma"),
    ("mg/L", "mg/L"),
    1,
    0,
    50,
    (120, 1800),
);
const PHQ9: Lab =
    score(("44261-6", "Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]"), 4, (10, 22));
const GAD7: Lab =
    score(("70274-6", "Generalized anxiety disorder 7 item (GAD-7) total score [Reported.PHQ]"), 4, (10, 19));
const AUDIT_C: Lab = score(("75626-2", "Total score [AUDIT-C]"), 3, (7, 12));

pub(crate) const PENICILLIN: Code = ("91936005", "Allergy to penicillin");

/// The diseases people come with.
pub(crate) const COURSES: &[Course] = &[
    course(
        "hypertension",
        ("I10", "Essential (primary) hypertension"),
        ("59621000", "Essential hypertension"),
        &[POTASSIUM, CREATININE],
        &[
            medicine(
                ("314076", "lisinopril 10 MG Oral Tablet"),
                ("29046", "lisinopril"),
                "1 tablet by mouth every morning",
                1,
            ),
            medicine(
                ("197361", "amlodipine 5 MG Oral Tablet"),
                ("17767", "amlodipine"),
                "1 tablet by mouth every evening",
                1,
            ),
        ],
        Clinic::Medicine,
        false,
        (35, 120),
        320,
        "Blood pressure discussed, home log reviewed.",
    ),
    course(
        "diabetes",
        ("E11.9", "Type 2 diabetes mellitus without complications"),
        ("44054006", "Diabetes mellitus type 2"),
        &[A1C, GLUCOSE],
        &[medicine(
            ("861007", "metformin hydrochloride 500 MG Oral Tablet"),
            ("6809", "metformin"),
            "1 tablet by mouth twice a day with meals",
            2,
        )],
        Clinic::Medicine,
        false,
        (30, 120),
        150,
        "Foot examination without finding, diet reviewed.",
    ),
    course(
        "lipids",
        ("E78.5", "Hyperlipidemia, unspecified"),
        ("55822004", "Hyperlipidemia"),
        &[LDL, CHOLESTEROL],
        &[medicine(
            ("617310", "atorvastatin 20 MG Oral Tablet"),
            ("83367", "atorvastatin"),
            "1 tablet by mouth at bedtime",
            1,
        )],
        Clinic::Medicine,
        false,
        (40, 120),
        220,
        "Tolerates the statin well.",
    ),
    course(
        "asthma",
        ("J45.909", "Unspecified asthma, uncomplicated"),
        ("195967001", "Asthma"),
        &[],
        &[medicine(
            ("745679", "albuterol 0.09 MG/ACTUAT Metered Dose Inhaler"),
            ("435", "albuterol"),
            "2 puffs as needed for wheezing",
            4,
        )],
        Clinic::Pediatrics,
        false,
        (4, 60),
        90,
        "Peak flow in the green zone, inhaler technique shown again.",
    ),
    course(
        "copd",
        ("J44.9", "Chronic obstructive pulmonary disease, unspecified"),
        ("13645005", "Chronic obstructive pulmonary disease"),
        &[LEUKOCYTES],
        &[medicine(
            ("745679", "albuterol 0.09 MG/ACTUAT Metered Dose Inhaler"),
            ("435", "albuterol"),
            "2 puffs every 6 hours as needed",
            4,
        )],
        Clinic::Medicine,
        false,
        (55, 120),
        90,
        "Short of breath on one flight of stairs, no fever.",
    ),
    course(
        "thyroid",
        ("E03.9", "Hypothyroidism, unspecified"),
        ("40930008", "Hypothyroidism"),
        &[TSH],
        &[medicine(
            ("966222", "levothyroxine sodium 0.075 MG Oral Tablet"),
            ("10582", "levothyroxine"),
            "1 tablet by mouth on an empty stomach",
            1,
        )],
        Clinic::Medicine,
        false,
        (25, 120),
        60,
        "Dose unchanged, repeat in six months.",
    ),
    course(
        "kidney",
        ("N18.30", "Chronic kidney disease, stage 3 unspecified"),
        ("433144002", "Chronic kidney disease stage 3"),
        &[CREATININE, GFR, POTASSIUM],
        &[],
        Clinic::Medicine,
        false,
        (55, 120),
        100,
        "Avoid NSAIDs; nephrology follow-up arranged.",
    ),
    course(
        "fibrillation",
        ("I48.91", "Unspecified atrial fibrillation"),
        ("49436004", "Atrial fibrillation"),
        &[INR],
        &[medicine(
            ("855332", "warfarin sodium 5 MG Oral Tablet"),
            ("11289", "warfarin"),
            "1 tablet by mouth every evening, dose by INR",
            1,
        )],
        Clinic::Medicine,
        false,
        (60, 120),
        70,
        "Rate controlled, no bleeding.",
    ),
    course(
        "heart-failure",
        ("I50.9", "Heart failure, unspecified"),
        ("84114007", "Heart failure"),
        &[BNP, SODIUM],
        &[medicine(
            ("313988", "furosemide 40 MG Oral Tablet"),
            ("4603", "furosemide"),
            "1 tablet by mouth every morning",
            1,
        )],
        Clinic::Medicine,
        false,
        (60, 120),
        80,
        "Weighs daily; ankles slightly swollen.",
    ),
    course(
        "reflux",
        ("K21.9", "Gastro-esophageal reflux disease without esophagitis"),
        ("235595009", "Gastroesophageal reflux disease"),
        &[],
        &[medicine(
            ("198051", "omeprazole 20 MG Delayed Release Oral Capsule"),
            ("7646", "omeprazole"),
            "1 capsule by mouth before breakfast",
            1,
        )],
        Clinic::Medicine,
        false,
        (20, 120),
        110,
        "Better since coffee was stopped.",
    ),
    course(
        "knee",
        ("M17.11", "Unilateral primary osteoarthritis, right knee"),
        ("239873007", "Osteoarthritis of knee"),
        &[],
        &[medicine(
            ("310965", "ibuprofen 200 MG Oral Tablet"),
            ("5640", "ibuprofen"),
            "1 to 2 tablets by mouth as needed for pain",
            3,
        )],
        Clinic::Medicine,
        false,
        (50, 120),
        140,
        "Walks with a cane on bad days.",
    ),
    course(
        "migraine",
        ("G43.909", "Migraine, unspecified, not intractable, without status migrainosus"),
        ("37796009", "Migraine"),
        &[],
        &[medicine(
            ("313782", "acetaminophen 325 MG Oral Tablet"),
            ("161", "acetaminophen"),
            "2 tablets by mouth at the first sign",
            2,
        )],
        Clinic::Medicine,
        false,
        (14, 65),
        70,
        "Headache diary kept, two attacks a month.",
    ),
    course(
        "pneumonia",
        ("J18.9", "Pneumonia, unspecified organism"),
        ("233604007", "Pneumonia"),
        &[LEUKOCYTES, CRP],
        &[medicine(
            ("308460", "azithromycin 250 MG Oral Tablet"),
            ("18631", "azithromycin"),
            "2 tablets on day 1, then 1 tablet a day for 4 days",
            1,
        )],
        Clinic::Medicine,
        true,
        (2, 120),
        70,
        "Crackles at the right base, saturation fair on room air.",
    ),
    course(
        "urinary",
        ("N39.0", "Urinary tract infection, site not specified"),
        ("68566005", "Urinary tract infectious disease"),
        &[LEUKOCYTES],
        &[medicine(
            ("309309", "ciprofloxacin 500 MG Oral Tablet"),
            ("2551", "ciprofloxacin"),
            "1 tablet by mouth twice a day for 5 days",
            2,
        )],
        Clinic::Medicine,
        true,
        (18, 120),
        80,
        "Dysuria for three days, no flank pain.",
    ),
    course(
        "otitis",
        ("H66.90", "Otitis media, unspecified, unspecified ear"),
        ("65363002", "Otitis media"),
        &[],
        &[medicine(
            ("308191", "amoxicillin 500 MG Oral Capsule"),
            ("723", "amoxicillin"),
            "1 capsule by mouth twice a day for 7 days",
            2,
        )],
        Clinic::Pediatrics,
        true,
        (1, 12),
        350,
        "Left eardrum red and bulging, otherwise well.",
    ),
    course(
        "cold",
        ("J06.9", "Acute upper respiratory infection, unspecified"),
        ("54150009", "Upper respiratory infection"),
        &[],
        &[],
        Clinic::Pediatrics,
        true,
        (0, 60),
        160,
        "Viral picture, fluids and rest advised.",
    ),
    course(
        "cellulitis",
        ("L03.115", "Cellulitis of right lower limb"),
        ("128045006", "Cellulitis"),
        &[CRP, LEUKOCYTES],
        &[],
        Clinic::Medicine,
        true,
        (30, 120),
        35,
        "Redness receded behind the marked line.",
    ),
    // Sensitive from here on: no label is set anywhere; only the codes tell.
    course(
        "hiv",
        ("B20", "Human immunodeficiency virus [HIV] disease"),
        ("86406008", "Human immunodeficiency virus infection"),
        &[
            lab(
                (
                    "20447-9",
                    "HIV 1 RNA [#/volume] (viral load) in Serum or Plasma by NAA with probe detection",
                ),
                ("{copies}/mL", "copies/mL"),
                0,
                0,
                20,
                (20, 480),
            ),
            lab(
                ("24467-3", "CD3+CD4+ (T4 helper) cells [#/volume] in Blood"),
                ("/uL", "cells/uL"),
                0,
                500,
                1500,
                (310, 720),
            ),
        ],
        &[medicine(
            ("476556", "emtricitabine 200 MG / tenofovir disoproxil fumarate 300 MG Oral Tablet"),
            ("276237", "emtricitabine"),
            "1 tablet by mouth once a day",
            1,
        )],
        Clinic::Infection,
        false,
        (19, 75),
        45,
        "Adherent to antiretroviral therapy, partner aware.",
    ),
    course(
        "opioid",
        ("F11.20", "Opioid dependence, uncomplicated"),
        ("75544000", "Opioid dependence"),
        &[presence(("19295-5", "Opiates [Presence] in Urine by Screen method"))],
        &[medicine(
            ("1010600", "buprenorphine 2 MG / naloxone 0.5 MG Sublingual Tablet"),
            ("1819", "buprenorphine"),
            "4 tablets under the tongue once a day",
            1,
        )],
        Clinic::Psychiatry,
        false,
        (18, 65),
        45,
        "In the buprenorphine programme, attends the group weekly.",
    ),
    course(
        "alcohol",
        ("F10.20", "Alcohol dependence, uncomplicated"),
        ("66590003", "Alcohol dependence"),
        &[AUDIT_C, lab(("5643-2", "Ethanol [Mass/volume] in Serum or Plasma"), MG_DL, 0, 0, 10, (30, 210))],
        &[medicine(("7243", "naltrexone"), ("7243", "naltrexone"), "50 mg by mouth once a day", 1)],
        Clinic::Psychiatry,
        false,
        (25, 80),
        45,
        "Wants to stop, last drink two weeks ago.",
    ),
    course(
        "depression",
        ("F33.1", "Major depressive disorder, recurrent, moderate"),
        ("18818009", "Moderate recurrent major depression"),
        &[PHQ9],
        &[medicine(
            ("312941", "sertraline 50 MG Oral Tablet"),
            ("36437", "sertraline"),
            "1 tablet by mouth every morning",
            1,
        )],
        Clinic::Psychiatry,
        false,
        (13, 90),
        110,
        "Sleeps badly, no thoughts of self-harm.",
    ),
    course(
        "anxiety",
        ("F41.1", "Generalized anxiety disorder"),
        ("21897009", "Generalized anxiety disorder"),
        &[GAD7],
        &[medicine(
            ("310385", "fluoxetine 20 MG Oral Capsule"),
            ("4493", "fluoxetine"),
            "1 capsule by mouth every morning",
            1,
        )],
        Clinic::Psychiatry,
        false,
        (16, 80),
        70,
        "Breathing exercises help.",
    ),
    course(
        "bipolar",
        ("F31.9", "Bipolar disorder, unspecified"),
        ("13746004", "Bipolar disorder"),
        &[lab(("14334-7", "Lithium [Moles/volume] in Serum or Plasma"), MMOL_L, 2, 60, 120, (45, 140))],
        &[medicine(("6448", "lithium"), ("6448", "lithium"), "300 mg by mouth twice a day", 2)],
        Clinic::Psychiatry,
        false,
        (20, 70),
        20,
        "Stable on lithium, family supportive.",
    ),
    women(course(
        "chlamydia",
        ("A56.00", "Chlamydial infection of lower genitourinary tract, unspecified"),
        ("240589008", "Chlamydia trachomatis infection"),
        &[presence((
            "21613-5",
            "Chlamydia trachomatis DNA [Presence] in Specimen by NAA with probe detection",
        ))],
        &[medicine(
            ("3640", "doxycycline"),
            ("3640", "doxycycline"),
            "100 mg by mouth twice a day for 7 days",
            2,
        )],
        Clinic::Women,
        true,
        (15, 40),
        70,
        "Partner treatment offered; asked that no letter is sent home.",
    )),
    course(
        "syphilis",
        ("A53.9", "Syphilis, unspecified"),
        ("76272004", "Syphilis"),
        &[presence(("20507-0", "Reagin Ab [Presence] in Serum by RPR"))],
        &[],
        Clinic::Infection,
        true,
        (20, 60),
        15,
        "Treated in one session, repeat serology in six months.",
    ),
    women(course(
        "contraception",
        ("Z30.011", "Encounter for initial prescription of contraceptive pills"),
        ("13197004", "Contraception"),
        &[presence(("2106-3", "Choriogonadotropin (pregnancy test) [Presence] in Urine"))],
        &[medicine(
            ("748962", "Camila 28 Day Pack"),
            ("7514", "norethindrone"),
            "1 tablet by mouth at the same time every day",
            1,
        )],
        Clinic::Women,
        true,
        (15, 45),
        120,
        "Counselled in private.",
    )),
    women(course(
        "pregnancy",
        ("Z34.90", "Encounter for supervision of normal pregnancy, unspecified, unspecified trimester"),
        ("77386006", "Pregnancy"),
        &[HEMOGLOBIN],
        &[],
        Clinic::Women,
        false,
        (19, 42),
        60,
        "Fetal heart heard, mother well.",
    )),
    women(course(
        "violence",
        ("T74.11XA", "Adult physical abuse, confirmed, initial encounter"),
        ("706893006", "Victim of intimate partner abuse"),
        &[],
        &[],
        Clinic::Women,
        true,
        (18, 70),
        15,
        "Safety plan made; contact only by the second number.",
    )),
];

/// Vaccines: code, words, youngest age in years.
pub(crate) const VACCINES: &[(Code, i64)] = &[
    (("140", "Influenza, seasonal, injectable, preservative free"), 1),
    (("115", "Tdap"), 11),
    (("03", "MMR"), 1),
    (("33", "pneumococcal polysaccharide PPV23"), 65),
    (("208", "COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose"), 16),
];

/// Procedures: code, words.
pub(crate) const PROCEDURES: &[Code] = &[
    ("29303009", "Electrocardiographic procedure"),
    ("399208008", "Plain chest X-ray"),
    ("73761001", "Colonoscopy"),
    ("40701008", "Echocardiography"),
    ("127783003", "Spirometry"),
];

/// Allergies: code, words, reaction, its words, category.
pub(crate) const ALLERGIES: &[(Code, Code, &str)] = &[
    (PENICILLIN, ("271807003", "Eruption of skin"), "medication"),
    (("91935009", "Allergy to peanut"), ("39579001", "Anaphylaxis"), "food"),
    (("300916003", "Latex allergy"), ("247472004", "Weal"), "environment"),
    (("91934008", "Allergy to nut"), ("247472004", "Weal"), "food"),
];

/// The course of that name. Names are constants of this crate; an unknown one is the first course.
pub(crate) fn course_of(key: &str) -> &'static Course {
    COURSES.iter().find(|c| c.key == key).unwrap_or(&COURSES[0])
}
